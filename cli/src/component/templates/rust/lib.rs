//! The job: each line in upper case.

use assay::Error;

/// Answers one item. Its error fails the shard, alike on every replica, so it should name what is at fault.
fn answer(item: &[u8]) -> Result<Vec<u8>, Error> {
    let text = std::str::from_utf8(item).map_err(Error::bad_input)?;
    Ok(text.to_uppercase().into_bytes())
}

assay::job!(each answer);

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_is_answered_in_upper_case() {
        assert_eq!(super::answer("grün".as_bytes()).unwrap(), "GRÜN".as_bytes());
        assert!(super::answer(&[0xff]).is_err());
    }
}
