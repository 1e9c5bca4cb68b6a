//! Cutting an input into items. The bytes are read by the caller.

use crate::Error;
use crate::items::ITEMS_MAX;

pub use crate::npy::split_rows as split_npy_rows;

/// Cuts a text into lines, without `\n` or `\r\n`. A line feed ends a line, so text after the last
/// one is a line only if there is any. Empty lines between others are items like them.
///
/// # Errors
/// If there are more than [`ITEMS_MAX`] lines.
pub fn split_lines(bytes: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let lines = body
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take(usize::try_from(ITEMS_MAX).map_or(usize::MAX, |max| max.saturating_add(1)))
        .collect();
    bounded(lines)
}

/// A line without its end, which a text's last one need not have.
pub fn line(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Orders files by name and drops the names, so that a folder gives the same items everywhere.
///
/// # Errors
/// If there are more than [`ITEMS_MAX`] files, or two of one name.
pub fn split_files(files: Vec<(String, Vec<u8>)>) -> Result<Vec<Vec<u8>>, Error> {
    bounded(in_order(files)?)
}

/// The same of files wherever their bytes are.
///
/// # Errors
/// If there are two of one name.
pub fn in_order<T>(mut files: Vec<(String, T)>) -> Result<Vec<T>, Error> {
    files.sort_by(|(left, _), (right, _)| left.cmp(right));
    for pair in files.windows(2) {
        if let [(left, _), (right, _)] = pair
            && left == right
        {
            return Err(Error::Field {
                key: "input.path".into(),
                value: format!("{left:?}"),
                bound: "is the name of two files".into(),
            });
        }
    }
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

fn bounded<T>(items: Vec<T>) -> Result<Vec<T>, Error> {
    if u32::try_from(items.len()).is_ok_and(|count| count <= ITEMS_MAX) {
        return Ok(items);
    }
    Err(Error::Field {
        key: "input.items".into(),
        value: items.len().to_string(),
        bound: format!("must be at most {ITEMS_MAX}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |text: &str, expected: &[&str]| {
            let lines = split_lines(text.as_bytes()).unwrap();
            let expected: Vec<_> = expected.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(lines, expected, "{text:?}");
        };
        check("", &[]);
        check("\n", &[""]);
        check("one", &["one"]);
        check("one\n", &["one"]);
        check("one\r\ntwo\n", &["one", "two"]);
        check("one\n\ntwo", &["one", "", "two"]);
        check("one\n\n", &["one", ""]);
        check("a\rb\n", &["a\rb"]);
        let many = vec![b'\n'; ITEMS_MAX as usize + 5];
        let error = split_lines(&many).unwrap_err();
        assert!(error.to_string().contains("at most 1048576"), "{error}");
    }

    #[test]
    fn files_come_in_the_order_of_their_names() {
        let file = |name: &str| (name.to_owned(), name.as_bytes().to_vec());
        let items = split_files(vec![file("b"), file("a"), file("B"), file("a/b")]).unwrap();
        assert_eq!(items, [&b"B"[..], b"a", b"a/b", b"b"]);
        let error = split_files(vec![file("b"), file("a"), file("b")]).unwrap_err();
        assert!(error.to_string().contains("\"b\""), "{error}");
    }
}
