use super::*;

/// The two windows of a file that the model is to see, without what fills them up.
fn windows(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let Step::Ask(numbers) = look(file) else {
        panic!("{:?} needs no model", String::from_utf8_lossy(file));
    };
    assert_eq!(numbers.len(), BEGINNING + END);
    let (beginning, end) = numbers.split_at(BEGINNING);
    let gaps = (
        beginning
            .iter()
            .rev()
            .take_while(|number| **number == PADDING),
        end.iter().take_while(|number| **number == PADDING),
    );
    let (after, before) = (gaps.0.count(), gaps.1.count());
    let bytes = |numbers: &[i32]| {
        numbers
            .iter()
            .map(|number| u8::try_from(*number).unwrap())
            .collect()
    };
    (
        bytes(&beginning[..BEGINNING - after]),
        bytes(&end[before..]),
    )
}

#[test]
fn the_model_sees_both_ends_without_the_blanks_around_them() {
    let run = |byte: u8, count: usize| vec![byte; count];
    let cases = [
        (
            "short",
            b"\n\t some text \x0b\x0c\n".to_vec(),
            &b"some text \x0b\x0c\n"[..],
            &b"\n\t some text"[..],
        ),
        (
            "eight bytes",
            b"01234567".to_vec(),
            b"01234567",
            b"01234567",
        ),
        (
            "longer than both windows",
            [run(b'a', 3000), run(b'b', 3000)].concat(),
            &run(b'a', BEGINNING),
            &run(b'b', END),
        ),
        (
            "blanks beyond a window, within a block",
            [run(b' ', 4000), run(b'a', 5000), run(b' ', 4090)].concat(),
            &run(b'a', 96),
            &run(b'a', 6),
        ),
        (
            "nothing but blanks in the last block",
            [run(b'a', 9), run(b' ', 5000)].concat(),
            &[run(b'a', 9), run(b' ', 1015)].concat(),
            b"",
        ),
    ];
    for (name, file, beginning, end) in cases {
        let (first, last) = windows(&file);
        assert_eq!(
            (first.as_slice(), last.as_slice()),
            (beginning, end),
            "{name}"
        );
    }
}

#[test]
fn what_has_too_few_bytes_needs_no_model() {
    let cases = [
        (Vec::new(), EMPTY),
        (b"1234567".to_vec(), TXT),
        (vec![0xff], UNKNOWN),
        (b"          1234567".to_vec(), TXT),
        (vec![b' '; 10_000], TXT),
        // A character that the end of the block cuts in two makes it no text, as for Magika.
        ([vec![b' '; BLOCK - 1], "\u{e9}".into()].concat(), UNKNOWN),
        ([vec![b' '; BLOCK - 2], "\u{e9} ".into()].concat(), TXT),
    ];
    for (file, kind) in cases {
        assert_eq!(look(&file), Step::Answer(kind), "{} bytes", file.len());
    }
}

#[test]
fn what_the_model_is_not_sure_of_gets_a_mere_word() {
    let at = |label: &str| {
        OUTPUTS
            .iter()
            .position(|output| output.kind.label == label)
            .unwrap()
    };
    let cases = [
        ("python", 0.5, "python", "code"),
        ("python", 0.49, "txt", "text"),
        ("png", 0.9, "png", "image"),
        ("png", 0.4, "unknown", "unknown"),
        // These have bounds of their own.
        ("markdown", 0.76, "markdown", "text"),
        ("markdown", 0.74, "txt", "text"),
        // Random bytes are nothing that anybody looks for.
        ("unknown", 0.99, "unknown", "unknown"),
    ];
    for (label, score, said, group) in cases {
        let mut scores = vec![0.0; OUTPUTS.len()];
        scores[at(label)] = score;
        let (kind, told) = decide(&scores).unwrap();
        assert_eq!(
            (kind.label, kind.group),
            (said, group),
            "{label} at {score}"
        );
        assert_eq!(told, f64::from(score));
    }
    let mut tie = vec![0.0; OUTPUTS.len()];
    (tie[at("c")], tie[at("cpp")]) = (0.5, 0.5);
    assert_eq!(decide(&tie).unwrap().0.label, "c");
}

#[test]
fn scores_of_another_model_are_refused() {
    let error = decide(&[1.0, 0.0]).unwrap_err().to_string();
    assert!(error.contains("2 scores, not 214"), "{error}");
}

#[test]
fn a_record_is_one_line_of_json() {
    let (kind, score) = (OUTPUTS[0].kind, 0.999_96);
    let line = String::from_utf8(record(kind, score)).unwrap();
    assert_eq!(
        line,
        r#"{"label":"3gp","group":"video","mime":"video/3gpp","score":1.0000}"#
    );
}
