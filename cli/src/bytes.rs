//! Sizes on the command line: a number of bytes, or a number with a unit.

/// Units and what they multiply by. The longest first, since `B` ends them all.
const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads `4294967296`, `512MiB`, `4 GiB` and the like.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let suffixed = |(unit, size): &(&str, u64)| Some((text.strip_suffix(*unit)?, *size));
    let (number, size) = UNITS.iter().find_map(suffixed).unwrap_or((text, 1));
    let number: Option<u64> = number.trim_end().parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(size));
    bytes.ok_or_else(|| {
        format!("{text:?} is no size: bytes, or a whole number of KiB, MiB, GiB or TiB")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("10000", 10_000),
            ("7B", 7),
            ("64KiB", 64 << 10),
            ("512MiB", 512 << 20),
            ("4 GiB", 4 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "GiB",
            "-1",
            "1.5GiB",
            "4gb",
            "4G",
            "1e9",
            "99999999999TiB",
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(&format!("{text:?}")), "{refused}");
        }
    }
}
