//! Links that the vendor hands out.

use std::fmt;

use reqwest::Url;

use crate::health::failure::printable;

/// Bytes of an endpoint that is shown: names of objects have 1 KiB at most, and what a stranger chose must not fill a small record.
const ENDPOINT: usize = 1_200;

/// A signed link to an object: whoever has it can read the object, so it is shown without its query only.
pub(super) struct Link(Url);

impl Link {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Url::parse(text).ok().filter(Url::has_host).map(Self)
    }

    /// The object's path, the same for each link to it.
    pub(super) fn path(&self) -> &str {
        self.0.path()
    }

    /// The object store's name.
    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether nobody on the way can read it.
    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The link itself, for the line that sends it.
    pub(super) fn expose(&self) -> Url {
        self.0.clone()
    }

    /// Method, host and path, as far as they have room in the record of a failure.
    pub(super) fn endpoint(&self) -> String {
        let whole = format!("GET {}{}", self.host(), self.0.path());
        printable(&whole, ENDPOINT)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_length_makes_a_short_endpoint() {
        let link = Link::parse(&format!("https://b.example/{}?s=1", "x".repeat(100_000))).unwrap();
        assert!(link.endpoint().starts_with("GET b.example/xx"));
        assert!(link.endpoint().len() < 1_210);
    }

    #[test]
    fn a_link_does_not_show_its_signature() {
        let link = Link::parse("https://bucket.example.net/cg/a.gz?X-Amz-Signature=s").unwrap();
        assert_eq!(format!("{link:?}"), "/cg/a.gz");
        assert_eq!(link.endpoint(), "GET bucket.example.net/cg/a.gz");
        assert!(Link::parse("/cg/a.gz").is_none());
    }

    #[test]
    fn loopback_is_told_by_the_address_and_not_by_how_a_name_begins() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("https://api.services.mimecast.com", false),
            ("http://127.0.0.1.example.com", false),
        ] {
            assert_eq!(crate::http::is_loopback(url), expected, "{url}");
        }
    }
}
