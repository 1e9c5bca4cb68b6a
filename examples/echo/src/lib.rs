//! The smallest job: every line in upper case. No model, no state; what the tests of the sandbox run.

use assay::Error;

/// ASCII letters in upper case, every other byte as it is.
fn shout(item: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(item.to_ascii_uppercase())
}

assay::job!(each shout);

#[cfg(test)]
mod tests {
    #[test]
    fn letters_rise_and_other_bytes_stay() {
        assert_eq!(
            super::shout("grüße 1\0".as_bytes()).unwrap(),
            "GRüßE 1\0".as_bytes()
        );
    }
}
