//! API 1.0: the signature of a request. Pure.
//!
//! `base64(HMAC-SHA1(secret key, "<date>:<request id>:<path>:<application key>"))`; neither the body nor the
//! application id is signed (Mimecast API 1.0 reference, "Authorization", read 2026-11-22).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};

use super::SigningKey;
use crate::model::Timestamp;

/// The time as `x-mc-date` has it: `Tue, 06 Jan 2026 09:08:07 UTC`.
pub(in crate::mimecast) fn date(now: Timestamp) -> String {
    now.calendar()
        .strftime("%a, %d %b %Y %H:%M:%S UTC")
        .to_string()
}

/// The signature of a request; the date and the id are the texts that are sent.
pub(in crate::mimecast) fn sign(
    key: &SigningKey,
    date: &str,
    request_id: &str,
    path: &str,
    application_key: &str,
) -> String {
    // HMAC takes a key of any length, so the fallback is never reached; the vendor would refuse it.
    let Ok(mut mac) = Hmac::<sha1::Sha1>::new_from_slice(&key.0) else {
        return String::new();
    };
    for (n, part) in [date, request_id, path, application_key].iter().enumerate() {
        if n > 0 {
            mac.update(b":");
        }
        mac.update(part.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn key(bytes: impl IntoIterator<Item = u8>) -> SigningKey {
        SigningKey(Zeroizing::new(bytes.into_iter().collect()))
    }

    #[test]
    fn the_date_is_in_the_vendors_form() {
        let moment = Timestamp::parse("2026-01-06T09:08:07Z").unwrap();
        assert_eq!(date(moment), "Tue, 06 Jan 2026 09:08:07 UTC");
    }

    #[test]
    fn known_requests_have_their_known_signatures() {
        let ours = (
            key(0..64),
            "Tue, 06 Jan 2026 09:08:07 UTC",
            "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0",
            "11111111-2222-4333-8444-555555555555",
        );
        // The unit test of the public client go-mimecast.
        let theirs = (
            key(*b"SecretKey"),
            "Sun, 21 Aug 2022 13:49:40 UTC",
            "3d796b76-4180-40e5-8f7c-6e0fd643b1a9",
            "ApplicationKey",
        );
        let table = [
            (
                &ours,
                "/api/audit/get-siem-logs",
                "CAROAjZH8DuSza+zAuO1I5ihCTk=",
            ),
            (
                &ours,
                "/api/audit/get-audit-events",
                "NfoyZhtgYS3VXAj0qm6Gp6a6DZI=",
            ),
            (
                &theirs,
                "/api/test/some-url",
                "WOywLsnZlsE+D6bp/ug6uch5kxc=",
            ),
        ];
        for ((key, date, id, application_key), path, signature) in table {
            assert_eq!(
                sign(key, date, id, path, application_key),
                signature,
                "{path}"
            );
        }
    }
}
