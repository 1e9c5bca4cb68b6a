//! Lengths of time on the command line: a whole number with a unit.

use std::time::Duration;

/// Units and their seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];

/// Longest period, in seconds: a year.
const SECONDS_MAX: u64 = 366 * 24 * 3600;

/// Reads `90s`, `30m`, `1h` or `7d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let found = UNITS.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    match found {
        Some(seconds) if (1..=SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "{text:?} is no period: a whole number of s, m, h or d, such as 90s or 1h, from 1s to 366d"
        )),
    }
}

/// The day of a time in milliseconds since 1970, in Universal Time, as `2026-11-22`.
pub(crate) fn date(ms: u64) -> String {
    // Years that begin in March, so that the odd day is the last one, counted from the year 0.
    let days = ms / 86_400_000 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let (month, year) = match shifted {
        0..=9 => (shifted + 3, year + era * 400),
        _ => (shifted - 9, year + era * 400 + 1),
    };
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time in milliseconds since 1970 as `2026-11-22 15:04:05Z`.
pub(crate) fn moment(ms: u64) -> String {
    let seconds = ms / 1000 % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{} {hours:02}:{minutes:02}:{:02}Z", date(ms), seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_have_a_unit_and_a_bound() {
        for (text, seconds) in [
            ("1s", 1),
            ("90s", 90),
            ("30m", 1800),
            ("1h", 3600),
            ("7d", 604_800),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "1",
            "h",
            "0s",
            "-1h",
            "1.5h",
            "367d",
            "99999999999999999999d",
            "1w",
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(&format!("{text:?}")), "{refused}");
        }
    }

    #[test]
    fn days_have_dates() {
        const DAY: u64 = 86_400_000;
        for (ms, expected) in [
            (0, "1970-01-01"),
            (DAY - 1, "1970-01-01"),
            (58 * DAY, "1970-02-28"),
            (59 * DAY, "1970-03-01"),
            (11_016 * DAY, "2000-02-29"),
            (11_017 * DAY, "2000-03-01"),
            (20_779 * DAY, "2026-11-22"),
        ] {
            assert_eq!(date(ms), expected, "{ms}");
        }
        assert_eq!(moment(20_779 * DAY + 54_245_999), "2026-11-22 15:04:05Z");
    }
}
