//! Times for people: UTC, as in RFC 3339.

use jobs::time::Timestamp;

const MS_PER_SECOND: u64 = 1000;
const SECONDS_PER_DAY: u64 = 86_400;

/// `2026-11-22T15:04:05.678Z`.
pub(crate) fn shown(time: Timestamp) -> String {
    let (seconds, ms) = (time.0 / MS_PER_SECOND, time.0 % MS_PER_SECOND);
    let (days, rest) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day counted from 1 January 1970, in the Gregorian calendar: eras of 400 years have equally
/// many days, and a year that begins in March has its odd day at the end.
const fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year.saturating_add(era.saturating_mul(400));
    (
        if month <= 2 {
            year.saturating_add(1)
        } else {
            year
        },
        month,
        day,
    )
}

/// Reads the date of an HTTP header (`Sun, 22 Nov 2026 15:04:05 GMT`) as seconds since 1970.
pub(crate) fn from_http(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|known| *known == name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut time = parts
        .next()?
        .split(':')
        .map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Counting up needs no second formula: there are few years.
    let mut days = year.checked_sub(1970)?.checked_mul(365)?;
    while date(days) < (year, month, day) {
        days = days.checked_add(1)?;
    }
    let of_day = hour * 3600 + minute * 60 + second;
    (date(days) == (year, month, day)).then_some(days * SECONDS_PER_DAY + of_day)
}

/// A duration as people say it: `12.3 s`, `4 min 5 s`.
pub(crate) fn lasted(ms: u64) -> String {
    let seconds = ms / MS_PER_SECOND;
    if seconds < 60 {
        return format!("{}.{} s", seconds, ms % MS_PER_SECOND / 100);
    }
    if seconds < 3600 {
        return format!("{} min {} s", seconds / 60, seconds % 60);
    }
    format!("{} h {} min", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_and_read_as_the_calendar_has_them() {
        // Each from `date -u -d @SECONDS`.
        for (seconds, text, http) in [
            (
                0,
                "1970-01-01T00:00:00.000Z",
                "Thu, 01 Jan 1970 00:00:00 GMT",
            ),
            (
                951_782_400,
                "2000-02-29T00:00:00.000Z",
                "Tue, 29 Feb 2000 00:00:00 GMT",
            ),
            (
                1_709_251_199,
                "2024-02-29T23:59:59.000Z",
                "Thu, 29 Feb 2024 23:59:59 GMT",
            ),
            (
                1_795_359_845,
                "2026-11-22T15:04:05.000Z",
                "Sun, 22 Nov 2026 15:04:05 GMT",
            ),
            (
                4_107_542_400,
                "2100-03-01T00:00:00.000Z",
                "Mon, 01 Mar 2100 00:00:00 GMT",
            ),
        ] {
            assert_eq!(shown(Timestamp(seconds * 1000)), text);
            assert_eq!(from_http(http), Some(seconds), "{http}");
        }
        for wrong in [
            "",
            "yesterday",
            "Sun, 31 Feb 2026 00:00:00 GMT",
            "Sun, 1 Foo 2026 0:0:0 GMT",
        ] {
            assert_eq!(from_http(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations() {
        for (ms, text) in [
            (0, "0.0 s"),
            (1_234, "1.2 s"),
            (65_000, "1 min 5 s"),
            (7_260_000, "2 h 1 min"),
        ] {
            assert_eq!(lasted(ms), text);
        }
    }
}
