//! Takes out of texts what must not leave the machine: secrets, tokens, mail addresses, addresses of networks. Pure.
//!
//! It is for what people send to somebody who helps them. Nothing is judged by where it came from, for a server may repeat in one place
//! what it was shown in another. What is taken out leaves a word in brackets, so that a reader sees that something was there.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};
use serde_json::{Map, Value};

use crate::secret::Secret;

/// Elements of a list that are shown.
const ELEMENTS: usize = 20;
/// Shorter texts are in every other text.
const SHORTEST: usize = 4;

/// Members of an answer that are about the answer itself; what stands in others may be about a mail.
const OF_ANSWERS: [&str; 21] = [
    "ackid",
    "code",
    "description",
    "detail",
    "error",
    "error_code",
    "error_description",
    "errors",
    "fail",
    "field",
    "invalid-event-number",
    "message",
    "meta",
    "msg",
    "reason",
    "requestid",
    "retryable",
    "status",
    "text",
    "title",
    "type",
];

/// What bounds an address of mail.
const MAIL: &str = r#"(?:"[^"\n]{1,64}"|[^\s"'<>()\[\]{},;:=|\\/&?@%#]+)(?:@|＠|%40|\\u0040|&#64;)[^\s"'<>()\[\]{},;:=|\\/&?@]+"#;

#[expect(clippy::unwrap_used, reason = "constants, each used by a test")]
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

static LOGIN: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'@]+@"#));
static QUERY: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>?]*)\?[^\s"'<>]*"#));
static PROOF: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?i)(\bauthorization["']?\s*[:=]\s*["']?)[^\s"',]+(?:[ \t]+[^\s"',]+)?|(\b(?:bearer|basic)[ \t]+)[^\s"',]{4,}"#,
    )
});
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| regex(MAIL));
static V4: LazyLock<Regex> = LazyLock::new(|| regex(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"));
static V6: LazyLock<Regex> = LazyLock::new(|| regex(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*"));
static TOKEN: LazyLock<Regex> = LazyLock::new(|| regex(r"[A-Za-z0-9+/_=.-]{32,}"));
static SUBJECT: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?i)(\bsubject["']?\s*[:=][ \t]*)[^\r\n]+"#));
static OF_A_STORE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"<(Code|Message|RequestId|HostId)>([^<]*)</"));

/// Knows some secrets, and what others look like.
#[derive(Default)]
pub struct Redactor {
    /// Each in the forms that a server may repeat it in, the longest first.
    secrets: Vec<String>,
}

impl Redactor {
    /// Takes out these secrets too, whatever they look like.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut forms = Vec::new();
        for secret in secrets {
            let plain = secret.expose();
            if plain.len() < SHORTEST {
                continue;
            }
            let quoted = Value::from(plain).to_string();
            forms.push(quoted.trim_matches('"').to_owned());
            forms.push(percent(plain));
            forms.push(plain.to_owned());
        }
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self { secrets: forms }
    }

    /// A text for people, such as a line of a log.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret, "[secret]");
        }
        let text = LOGIN.replace_all(&text, "$1[login]@");
        let text = QUERY.replace_all(&text, "$1?[query]");
        let text = PROOF.replace_all(&text, "$1$2[token]");
        let text = ADDRESS.replace_all(&text, |found: &Captures<'_>| {
            let whole = found.get(0).map_or("", |all| all.as_str());
            // A number of a replay stands behind an "@" too; no host does without a letter.
            let host = whole.rsplit(['@', '＠']).next().unwrap_or("");
            if whole.contains('@') && host.chars().all(|c| c.is_ascii_digit()) {
                whole.to_owned()
            } else {
                "[address]".to_owned()
            }
        });
        let text = V6.replace_all(&text, hide_v6);
        let text = V4.replace_all(&text, |found: &Captures<'_>| {
            let whole = found.get(0).map_or("", |all| all.as_str());
            hide_ip(whole, whole.parse().ok())
        });
        TOKEN
            .replace_all(&text, |found: &Captures<'_>| {
                let whole = found.get(0).map_or("", |all| all.as_str());
                if is_token(whole) { "[token]" } else { whole }.to_owned()
            })
            .into_owned()
    }

    /// An answer's body, at most `limit` bytes of what is left of it: of JSON the members that are about the answer, of an object store's
    /// XML the elements that are, and other text without what looks like somebody's.
    #[must_use]
    pub fn body(&self, body: &[u8], limit: usize) -> String {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let shown =
            if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
                format!("{:#}", self.json(&value, false))
            } else if text.starts_with('<') && OF_A_STORE.is_match(text) {
                let parts = OF_A_STORE.captures_iter(text);
                let parts = parts.map(|part| {
                    let group = |n| part.get(n).map_or("", |group| group.as_str());
                    format!("<{}>{}", group(1), self.text(group(2)))
                });
                parts.collect::<Vec<_>>().join("\n")
            } else {
                self.text(&SUBJECT.replace_all(text, "$1[text]"))
            };
        cut(shown, limit)
    }

    /// The same of a value; `known` says whether its texts are about the answer.
    fn json(&self, value: &Value, known: bool) -> Value {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::String(text) if known => self.text(text).into(),
            Value::String(text) => masked(text).into(),
            Value::Array(list) => {
                let shown = list.iter().take(ELEMENTS);
                let mut shown: Vec<_> = shown.map(|one| self.json(one, known)).collect();
                if list.len() > ELEMENTS {
                    shown.push(format!("[{} more]", list.len() - ELEMENTS).into());
                }
                shown.into()
            }
            Value::Object(members) => {
                let shown = members.iter().map(|(name, value)| {
                    let known = OF_ANSWERS.contains(&name.to_ascii_lowercase().as_str());
                    (self.text(name), self.json(value, known))
                });
                Value::Object(shown.collect::<Map<_, _>>())
            }
        }
    }
}

/// What stands in place of a text that is nobody else's business.
#[must_use]
pub fn masked(text: &str) -> String {
    format!("[text of {} characters]", text.chars().count())
}

/// Cut at a character's end, saying so.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push_str(" [cut]");
    }
    text
}

/// As in a form or a URL.
fn percent(text: &str) -> String {
    let mut shown = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            shown.push(char::from(byte));
        } else {
            shown.push_str(&format!("%{byte:02X}"));
        }
    }
    shown
}

fn hide_v6(found: &Captures<'_>) -> String {
    let whole = found.get(0).map_or("", |all| all.as_str());
    let address = whole.trim_end_matches('.');
    let parsed = address.parse::<Ipv6Addr>().ok();
    let rest = whole.get(address.len()..).unwrap_or("");
    // With a port behind it, or the colon of a sentence.
    let shorter = address.rsplit_once(':').map_or("", |(address, _)| address);
    match (parsed, shorter.parse::<Ipv6Addr>()) {
        (Some(_), _) => hide_ip(address, parsed.map(IpAddr::V6)) + rest,
        (None, Ok(parsed)) => {
            let behind = whole.get(shorter.len()..).unwrap_or("");
            hide_ip(shorter, Some(parsed.into())) + behind
        }
        (None, Err(_)) => whole.to_owned(),
    }
}

/// This machine's own is nobody's.
fn hide_ip(text: &str, address: Option<IpAddr>) -> String {
    match address {
        Some(address) if !address.is_loopback() && !address.is_unspecified() => "[ip]".to_owned(),
        Some(_) | None => text.to_owned(),
    }
}

/// Whether a long word is more likely to be a proof than a name, a path or an id of a request.
fn is_token(word: &str) -> bool {
    if word.starts_with("eyJ") {
        return true;
    }
    // Parts of a path are looked at one by one.
    if let Some((first, rest)) = word.split_once('/')
        && [first, rest]
            .iter()
            .all(|part| !part.is_empty() || word.starts_with('/'))
        && word
            .split('/')
            .all(|part| part.len() < 32 || !is_token(part))
        && word
            .split('/')
            .any(|part| part.chars().all(|c| c.is_ascii_lowercase()))
    {
        return false;
    }
    let is_uuid = word.len() == 36
        && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && word.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    let has = |what: fn(&char) -> bool| word.chars().any(|c| what(&c));
    let hex = word.chars().all(|c| c.is_ascii_hexdigit());
    let mixed =
        has(char::is_ascii_digit) && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase);
    !is_uuid && (hex || mixed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> String {
        Redactor::default().text(text)
    }

    #[test]
    fn what_is_somebodys_is_taken_out_of_a_text_and_what_helps_stays() {
        for (text, shown) in [
            (
                "no such user alice.b+x@mail.example.com.",
                "no such user [address]",
            ),
            (
                "from <\"a b\"@example.com> to bob%40example.org",
                "from <[address]> to [address]",
            ),
            (
                "connect 192.0.2.7:8088 and [2001:db8::1]:443",
                "connect [ip]:8088 and [[ip]]:443",
            ),
            (
                "at 127.0.0.1:8901, ::1, at 09:08:07.042",
                "at 127.0.0.1:8901, ::1, at 09:08:07.042",
            ),
            (
                "https://u:pw@proxy.example.com:3128/x?sig=1",
                "https://[login]@proxy.example.com:3128/x?[query]",
            ),
            (
                "Authorization: MC key:c2ln and Bearer abcdefgh",
                "Authorization: [token] and Bearer [token]",
            ),
            (
                "id 5f2c7a0e-6a1d-4c0b-9a55-2f1f6d1f7b11",
                "id 5f2c7a0e-6a1d-4c0b-9a55-2f1f6d1f7b11",
            ),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "[token]"),
            ("x Aa1Bb2Cc3Dd4Ee5Ff6Aa1Bb2Cc3Dd4Ee5Ff6", "x [token]"),
            (
                "/var/lib/mimecast-collector/lanes/acme/siem-cg/0000000000000001.seg",
                "/var/lib/mimecast-collector/lanes/acme/siem-cg/0000000000000001.seg",
            ),
            (
                "stream acme/siem-cg@1767690487/url protect",
                "stream acme/siem-cg@1767690487/url protect",
            ),
            ("lane @collector", "lane @collector"),
        ] {
            assert_eq!(plain(text), shown, "{text}");
        }
    }

    #[test]
    fn of_an_answer_the_members_about_the_answer_are_shown() {
        let body = br#"{"meta":{"status":401},"data":[{"subject":"Secret plans","to":"bob@example.com","size":12}],
            "fail":[{"key":{"emailAddress":"bob@example.com"},"errors":[{"code":"err_x","message":"0010 bob@example.com is locked","retryable":false}]}]}"#;
        insta::assert_snapshot!(Redactor::default().body(body, 4096), @r#"
        {
          "data": [
            {
              "size": 12,
              "subject": "[text of 12 characters]",
              "to": "[text of 15 characters]"
            }
          ],
          "fail": [
            {
              "errors": [
                {
                  "code": "err_x",
                  "message": "0010 [address] is locked",
                  "retryable": false
                }
              ],
              "key": {
                "emailAddress": "[text of 15 characters]"
              }
            }
          ],
          "meta": {
            "status": 401
          }
        }
        "#);
    }

    #[test]
    fn of_an_object_store_the_signed_request_is_not_repeated() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message>\
            <AWSAccessKeyId>AKIA</AWSAccessKeyId><StringToSign>GET /x</StringToSign><RequestId>R1</RequestId></Error>";
        let shown = Redactor::default().body(body, 4096);
        assert_eq!(
            shown,
            "<Code>SignatureDoesNotMatch\n<Message>no\n<RequestId>R1"
        );
    }

    #[test]
    fn a_page_of_a_proxy_keeps_its_words_and_loses_a_mail() {
        let page = "<html>Blocked\nSubject: Secret plans\nFrom: bob@example.com</html>";
        let shown = Redactor::default().body(page.as_bytes(), 4096);
        assert_eq!(
            shown,
            "<html>Blocked\nSubject: [text]\nFrom: [address]</html>"
        );
        assert_eq!(
            Redactor::default().body("é".repeat(9).as_bytes(), 5),
            "éé [cut]"
        );
    }

    /// A body in which the word stands at a place and in a form that a server may choose.
    fn around(word: &str, before: &str, after: &str, form: usize) -> String {
        let quoted = Value::from(word).to_string();
        match form {
            0 => format!("{before} {word} {after}"),
            1 => format!(
                "{{\"fail\":[{{\"code\":\"x\",\"message\":{}}}]}}",
                Value::from(format!("{before} {word} {after}"))
            ),
            2 => format!("{{\"data\":[{{{quoted}:1,\"x\":{quoted}}}],\"error\":{quoted}}}"),
            3 => format!(
                "<html><a href=\"https://x.example/?a={}\">{word}</a>",
                percent(word)
            ),
            4 => format!("<Error><Code>{word}</Code><StringToSign>{word}</StringToSign></Error>"),
            _ => format!("{before}\n{{\"message\":{quoted}, {after}"),
        }
    }

    proptest! {
        #[test]
        fn no_secret_and_no_mail_address_survives(
            secret in "[!-~]{8,40}",
            local in "[a-z0-9][a-z0-9._+-]{0,12}",
            host in "[a-z][a-z0-9-]{0,10}\\.[a-z]{2,5}",
            before in "[ -~é\n]{0,30}",
            after in "[ -~é\n]{0,30}",
            form in 0..6_usize,
            again in 0..6_usize,
        ) {
            let known = Secret::new(secret.clone());
            let redactor = Redactor::new([&known]);
            let mail = format!("{local}@{host}");
            for (word, form) in [(&secret, form), (&mail, again)] {
                let body = around(word, &before, &after, form);
                let shown = redactor.body(body.as_bytes(), 64 << 10);
                prop_assert!(!shown.contains(word.as_str()), "{body}\n{shown}");
                let shown = redactor.text(&body);
                prop_assert!(!shown.contains(word.as_str()), "{body}\n{shown}");
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}", limit in 0..50_usize) {
            let redactor = Redactor::default();
            drop(redactor.text(&text));
            drop(redactor.body(text.as_bytes(), limit));
        }
    }
}
