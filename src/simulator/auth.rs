//! Who asks, and whether they may: signatures of API 1.0, bearer tokens of API 2.0, lock-outs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::articles::refuse;
use super::call::{AuthKind, Call, Service, TOKEN_PATH};
use super::options::Key;
use super::reply::Reply;
use super::world::{State, World};
use crate::mimecast::log_types::Api;
use crate::model::Timestamp;

/// Whose credential a request shows, before it is looked at closely.
pub(super) fn claimed(state: &State, call: &Call) -> Option<String> {
    let owner = |owns: &dyn Fn(&Key) -> bool| {
        let mut members = state.accounts.iter();
        let (name, _) = members.find(|(_, member)| owns(&member.key))?;
        Some(name.clone())
    };
    match call.service {
        Service::Hec => None,
        Service::Objects => Some(call.path.split('/').nth(1)?.to_owned()),
        Service::Api if call.path == TOKEN_PATH => {
            let (id, _) = call.client()?;
            owner(&|key| matches!(key, Key::V2 { client_id, .. } if *client_id == id))
        }
        Service::Api => match call.authorization() {
            (AuthKind::Bearer, token) => Some(state.tokens.get(token)?.account.clone()),
            (AuthKind::Signed, signed) => {
                let (shown, _) = signed.split_once(':')?;
                owner(&|key| matches!(key, Key::V1 { access_key, .. } if access_key == shown))
            }
            (AuthKind::None | AuthKind::Basic | AuthKind::Splunk | AuthKind::Other, _) => None,
        },
    }
}

/// Lets a request for a log in, or says why not.
pub(super) fn admit(
    world: &World,
    state: &mut State,
    call: &Call,
    account: Option<&str>,
) -> Result<(String, Api), Reply> {
    let (kind, shown) = call.authorization();
    let wrong = match kind {
        AuthKind::Signed => None,
        AuthKind::Bearer => return bearer(world, state, call, shown),
        AuthKind::None => Some("a request without Authorization"),
        AuthKind::Basic | AuthKind::Splunk | AuthKind::Other => {
            Some("an Authorization that is neither MC nor Bearer")
        }
    };
    if let Some(wrong) = wrong {
        state.violation(call, wrong);
        return Err(refuse(call, 401, "0003"));
    }
    let signed = match Signed::of(call) {
        Ok(signed) => signed,
        Err(wrong) => {
            state.violation(call, wrong);
            return Err(refuse(call, 401, "0004"));
        }
    };
    let Some(account) = account else {
        return Err(refuse(call, 401, "0004"));
    };
    if locked(world, state, account) {
        return Err(refuse(call, 401, "0010"));
    }
    let key = state.accounts.get(account).map(|member| member.key.clone());
    let Some(Key::V1 {
        application_id,
        application_key,
        secret_key,
        ..
    }) = key
    else {
        return Err(refuse(call, 401, "0004"));
    };
    if signed.application_id != application_id {
        return Err(refuse(call, 401, "err_developer_key"));
    }
    let right = signature(
        &secret_key,
        signed.date,
        signed.id,
        &call.path,
        &application_key,
    )
    .is_some_and(|right| right == signed.signature);
    // A wrong clock is not a wrong credential: it does not lock.
    let wall = world.wall();
    let off = wall.since(signed.moment).max(signed.moment.since(wall));
    if right && off > world.options.skew_tolerance {
        return Err(refuse(call, 401, "0004"));
    }
    judged(world, state, account, right);
    if right {
        Ok((account.to_owned(), Api::V1))
    } else {
        Err(refuse(call, 401, "0004"))
    }
}

fn bearer(world: &World, state: &State, call: &Call, token: &str) -> Result<(String, Api), Reply> {
    let Some(token) = state.tokens.get(token) else {
        return Err(refuse(call, 401, "token_verification_failed"));
    };
    if world.now() >= token.expires {
        return Err(refuse(call, 401, "token_expired"));
    }
    Ok((token.account.clone(), Api::V2))
}

/// Whether the account is locked now.
pub(super) fn locked(world: &World, state: &State, account: &str) -> bool {
    let member = state.accounts.get(account);
    let until = member.and_then(|member| member.locked_until);
    until.is_some_and(|until| world.now() < until)
}

/// Counts a credential that was right or wrong towards a lock-out.
pub(super) fn judged(world: &World, state: &mut State, account: &str, right: bool) {
    let Some(member) = state.accounts.get_mut(account) else {
        return;
    };
    if right {
        member.wrong = 0;
        return;
    }
    member.wrong += 1;
    if let Some(rule) = world.options.lock_out
        && member.wrong >= rule.after
    {
        member.wrong = 0;
        member.locked_until = Some(world.now() + rule.lasts);
    }
}

/// The headers of a signed request.
struct Signed<'a> {
    application_id: &'a str,
    date: &'a str,
    moment: Timestamp,
    id: &'a str,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    fn of(call: &'a Call) -> Result<Self, &'static str> {
        let (_, shown) = call.authorization();
        let (_, signature) = shown
            .split_once(':')
            .ok_or("Authorization is not 'MC key:signature'")?;
        // Twenty bytes of HMAC-SHA1 in the standard alphabet, padded.
        let digest = STANDARD.decode(signature);
        if !digest.is_ok_and(|digest| digest.len() == 20) {
            return Err("the signature is not the base64 of an HMAC-SHA1");
        }
        let date = call.header("x-mc-date").ok_or("no x-mc-date")?;
        let moment = parse_date(date).ok_or("x-mc-date is not 'Tue, 06 Jan 2026 09:08:07 UTC'")?;
        let id = call.header("x-mc-req-id").ok_or("no x-mc-req-id")?;
        if !is_guid(id) {
            return Err("x-mc-req-id is not a GUID");
        }
        Ok(Self {
            application_id: call.header("x-mc-app-id").ok_or("no x-mc-app-id")?,
            date,
            moment,
            id,
            signature,
        })
    }
}

/// The signature that a request must have; `None` if the secret is not base64.
pub(super) fn signature(
    secret_key: &str,
    date: &str,
    id: &str,
    path: &str,
    application_key: &str,
) -> Option<String> {
    let secret = STANDARD.decode(secret_key).ok()?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&secret).ok()?;
    mac.update(format!("{date}:{id}:{path}:{application_key}").as_bytes());
    Some(STANDARD.encode(mac.finalize().into_bytes()))
}

/// Reads a date exactly as the vendor writes it; an older page has `GMT` for the zone.
fn parse_date(text: &str) -> Option<Timestamp> {
    const FORMAT: &str = "%a, %d %b %Y %H:%M:%S";
    let plain = text
        .strip_suffix(" UTC")
        .or_else(|| text.strip_suffix(" GMT"))?;
    let civil = jiff::civil::DateTime::strptime(FORMAT, plain).ok()?;
    // What is read leniently must read the same when written again.
    if civil.strftime(FORMAT).to_string() != plain {
        return None;
    }
    let moment = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp::from_millis(moment.as_millisecond()))
}

fn is_guid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_agree_with_the_vectors() {
        let secret: Vec<u8> = (0..64).collect();
        let sign = |path: &str| {
            signature(
                &STANDARD.encode(&secret),
                "Tue, 06 Jan 2026 09:08:07 UTC",
                "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0",
                path,
                "11111111-2222-4333-8444-555555555555",
            )
        };
        assert_eq!(
            sign("/api/audit/get-siem-logs").as_deref(),
            Some("CAROAjZH8DuSza+zAuO1I5ihCTk=")
        );
        assert_eq!(
            sign("/api/audit/get-audit-events").as_deref(),
            Some("NfoyZhtgYS3VXAj0qm6Gp6a6DZI=")
        );
        // A unit test of the public go-mimecast has these.
        let public = signature(
            &STANDARD.encode("SecretKey"),
            "Sun, 21 Aug 2022 13:49:40 UTC",
            "3d796b76-4180-40e5-8f7c-6e0fd643b1a9",
            "/api/test/some-url",
            "ApplicationKey",
        );
        assert_eq!(public.as_deref(), Some("WOywLsnZlsE+D6bp/ug6uch5kxc="));
    }

    #[test]
    fn only_the_vendors_date_is_a_date() {
        let moment = parse_date("Tue, 06 Jan 2026 09:08:07 UTC").unwrap();
        assert_eq!(moment.to_string(), "2026-01-06T09:08:07.000Z");
        assert_eq!(parse_date("Tue, 06 Jan 2026 09:08:07 GMT"), Some(moment));
        for wrong in [
            "Tue, 6 Jan 2026 09:08:07 UTC",
            "Mon, 06 Jan 2026 09:08:07 UTC",
            "Tue, 06 Jan 2026 09:08:07 +0000",
            "2026-01-06T09:08:07Z",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }
}
