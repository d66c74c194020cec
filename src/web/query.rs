//! The part of a URL behind the question mark.

use std::borrow::Cow;

/// The last value that the query gives a key; percent signs and plus signs decoded.
pub(super) fn value<'q>(query: &'q str, key: &str) -> Option<Cow<'q, str>> {
    let pairs = query.split('&').rev();
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .find(|(name, _)| *name == key)
        .map(|(_, value)| decode(value))
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut ahead = rest.clone();
                let digits = [ahead.next(), ahead.next()].map(|byte| byte.and_then(hex));
                match digits {
                    [Some(high), Some(low)] => {
                        rest = ahead;
                        high * 16 + low
                    }
                    _ => byte,
                }
            }
            _ => byte,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_damage_is_taken_as_it_is() {
        let query = "a=1&b=x%20y+z&c&d=%zz%4&e=%C3%A9%ff&a=2";
        for (key, expected) in [
            ("a", Some("2")),
            ("b", Some("x y z")),
            ("c", Some("")),
            ("d", Some("%zz%4")),
            ("e", Some("é\u{fffd}")),
            ("f", None),
        ] {
            assert_eq!(value(query, key).as_deref(), expected, "{key}");
        }
    }
}
