//! What holds for the file of every daemon.

use super::{Kind, Marked};

/// A file with every key that stands behind a `#` taken as if a person had removed it. There must be no key that the
/// file does not show, and each value that is shown must be valid.
pub(crate) fn all_shown<T: Marked>(kind: &Kind, file: &str) -> T {
    let shown: String = file
        .lines()
        .map(|line| {
            let key = line
                .strip_prefix('#')
                .filter(|rest| rest.starts_with(char::is_lowercase));
            format!("{}\n", key.unwrap_or(line))
        })
        .collect();
    for key in kind.keys {
        let line = format!("\n{key} = ");
        assert!(shown.contains(&line), "{key} is not shown");
    }
    kind.parse(&shown).unwrap()
}

/// Puts each of these lines where `place` stands in a file: it must be refused by the line's number, with these words.
pub(crate) fn all_named<T: Marked>(kind: &Kind, file: &str, place: &str, wrong: &[(&str, &str)]) {
    for (line, expected) in wrong {
        let text = file.replace(&format!("\n{place}\n"), &format!("\n{line}\n"));
        let at = text.lines().position(|l| l == *line).unwrap() + 1;
        let error = kind.parse::<T>(&text).err().unwrap();
        assert!(error.contains(expected), "{line}: {error}");
        assert!(error.starts_with(&format!("line {at}:")), "{line}: {error}");
    }
}
