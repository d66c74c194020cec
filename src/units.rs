//! Durations and sizes as people write them: `30s`, `5m`, `7d`, `5MiB`; never bare numbers.

use std::time::Duration;

/// Reads a whole number with one of the units ms, s, m, h, d.
///
/// # Errors
/// What would be right, for a configuration error.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "a duration such as \"30s\", \"5m\", \"2h\" or \"7d\"";
    let (number, unit) = split(text).ok_or_else(|| format!("expected {EXPECTED}"))?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("unknown unit '{unit}', expected {EXPECTED}")),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(|| "the duration is too long".to_owned())
}

/// Reads a whole number with one of the units B, KiB, MiB, GiB, TiB.
///
/// # Errors
/// What would be right, for a configuration error.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "a size such as \"512KiB\", \"2MiB\" or \"10GiB\"";
    let (number, unit) = split(text).ok_or_else(|| format!("expected {EXPECTED}"))?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(format!("unknown unit '{unit}', expected {EXPECTED}")),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "the size is too large".to_owned())
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

/// Writes a duration for people, in its two largest units: `2 h 5 min`, `47 s`, `300 ms`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis());
    }
    let seconds = duration.as_secs();
    let (large, small, names) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3_600 => (seconds / 60, seconds % 60, ("min", "s")),
        3_600..86_400 => (seconds / 3_600, seconds % 3_600 / 60, ("h", "min")),
        _ => (seconds / 86_400, seconds % 86_400 / 3_600, ("d", "h")),
    };
    if small == 0 {
        format!("{large} {}", names.0)
    } else {
        format!("{large} {} {small} {}", names.0, names.1)
    }
}

/// Writes a size for people: `512 B`, `1.5 KiB`, `2 MiB`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut shown = "B";
    for unit in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        shown = unit;
    }
    if tenths % 10 == 0 {
        format!("{} {shown}", tenths / 10)
    } else {
        format!("{}.{} {shown}", tenths / 10, tenths % 10)
    }
}

/// Writes a count for people: `7`, `12 345`, and in millions what no table has room for: `12 345 M`.
#[must_use]
pub fn show_count(count: u64) -> String {
    const MILLION: u64 = 1_000_000;
    if count >= 10_000 * MILLION {
        return format!("{} M", show_count(count / MILLION));
    }
    let digits = count.to_string();
    let mut shown = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration(" 7 d "), Ok(Duration::from_secs(604_800)));
        for bad in [
            "300",
            "",
            "m",
            "5 weeks",
            "-5m",
            "1.5h",
            "99999999999999999d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("2MiB"), Ok(2 << 20));
        for bad in ["2", "2MB", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_read_two_units() {
        let shown = |s| show_duration(Duration::from_secs(s));
        assert_eq!(
            [shown(47), shown(300), shown(7_500), shown(90_000)],
            ["47 s", "5 min", "2 h 5 min", "1 d 1 h"]
        );
        assert_eq!(
            [show_size(512), show_size(1536), show_size(2 << 20)],
            ["512 B", "1.5 KiB", "2 MiB"]
        );
    }

    #[test]
    fn counts_are_read_in_groups() {
        let shown = [0, 999, 12_345, 9_999_999_999, 12_345_678_901].map(show_count);
        assert_eq!(shown, ["0", "999", "12 345", "9 999 999 999", "12 345 M"]);
    }
}
