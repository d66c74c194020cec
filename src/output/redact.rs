//! What a receiver answers may repeat what it was shown: here secrets are taken out of it.

use reqwest::Url;

use crate::secret::Secret;

/// What must not be seen of an answer.
#[derive(Debug, Default)]
pub(super) struct Redactor(Vec<Secret>);

/// Shorter pieces of an address are words such as `v2` or `services`; what is longer may be what opens a door.
const LONG: usize = 9;

impl Redactor {
    /// Hides these texts.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut all = Self::default();
        for secret in secrets {
            all.add(secret.expose());
        }
        all
    }

    /// Hides an address too, and the parts of its path and query, which an answer may show by themselves.
    pub(super) fn and_url(mut self, url: &Url) -> Self {
        self.add(url.as_str());
        for part in [
            url.path(),
            url.username(),
            url.password().unwrap_or_default(),
        ] {
            self.add_parts(part);
        }
        self.and_query(url)
    }

    /// Hides the query of an address, and the parts of it.
    pub(super) fn and_query(mut self, url: &Url) -> Self {
        self.add_parts(url.query().unwrap_or_default());
        self
    }

    fn add_parts(&mut self, text: &str) {
        self.add_long(text);
        for piece in text.split(['/', '&', '=']) {
            self.add_long(piece);
        }
    }

    fn add_long(&mut self, text: &str) {
        if text.len() >= LONG {
            self.add(text);
        }
    }

    fn add(&mut self, text: &str) {
        // What stands behind `Bearer` or the like is the secret itself.
        let pieces = text.split_whitespace().filter(|piece| piece.len() >= LONG);
        for text in [text].into_iter().chain(pieces) {
            if !text.is_empty() {
                self.0.push(Secret::new(text.to_owned()));
            }
        }
        self.0
            .sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// The text without them.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in &self.0 {
            if shown.contains(secret.expose()) {
                shown = shown.replace(secret.expose(), "[secret]");
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_secret_nor_a_part_of_a_secret_address_is_shown() {
        let url = Url::parse(
            "https://hooks.example.com/services/T0001/B0002/abcdefghijkl?sig=qrstuvwxyz",
        )
        .unwrap();
        let secret = Secret::new("Bearer 0123456789".to_owned());
        let redactor = Redactor::new([&secret]).and_url(&url);
        let shown = redactor.hide(
            "no such hook https://hooks.example.com/services/T0001/B0002/abcdefghijkl?sig=qrstuvwxyz \
             (/services/T0001/B0002/abcdefghijkl, abcdefghijkl; qrstuvwxyz; 0123456789)",
        );
        assert_eq!(
            shown,
            "no such hook [secret] ([secret], [secret]; [secret]; [secret])"
        );
        assert!(!format!("{redactor:?}").contains("0123456789"));
    }
}
