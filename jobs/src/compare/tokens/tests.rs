use proptest::prelude::*;

use super::*;

const RULE: TokensRule = TokensRule {
    atol: 0.01,
    draws: None,
    rms: None,
};

fn step(token: u32, logprob: f32, margin: f32) -> Step {
    Step {
        token,
        logprob,
        margin,
    }
}

/// Three tokens, the second of which was a close call.
fn honest() -> Vec<Step> {
    vec![
        step(7, -0.5, 2.0),
        step(8, -0.75, 0.015),
        step(9, -0.25, 4.0),
    ]
}

fn graded(rule: &TokensRule, left: &[u8], right: &[u8]) -> Option<Grade> {
    let forth = compare(rule, left, right)
        .err()
        .map(|finding| finding.grade);
    let back = compare(rule, right, left)
        .err()
        .map(|finding| finding.grade);
    assert_eq!(forth, back, "the relation is symmetric");
    forth
}

/// The honest output with some steps changed.
fn changed(change: impl Fn(&mut Vec<Step>)) -> Vec<u8> {
    let mut steps = honest();
    change(&mut steps);
    encode(&steps, b"abc").unwrap()
}

#[test]
fn the_golden_output_is_what_is_written_and_read() {
    let golden = hex::decode(include_str!("../../../tests/tokens/v1.hex").trim()).unwrap();
    let steps = [
        step(504, -0.125, 3.5),
        step(u32::MAX, 0.0, 0.0),
        step(2, -17.25, 1e-3),
    ];
    let text = "Zoë\n".as_bytes();
    assert_eq!(encode(&steps, text).unwrap(), golden);
    let read = Tokens::decode(&golden).unwrap();
    assert_eq!(read.steps().collect::<Vec<_>>(), steps);
    assert_eq!(read.text(), text);
}

#[test]
fn tokens_agree_within_the_tolerance() {
    let left = encode(&honest(), b"abc").unwrap();
    let (ambiguous, clear) = (Some(Grade::Ambiguous), Some(Grade::Clear));
    let cases: [(&str, Vec<u8>, Option<Grade>); 13] = [
        ("the same", changed(|_| ()), None),
        (
            "a little less likely",
            changed(|s| s[0].logprob -= 0.009),
            None,
        ),
        ("less likely", changed(|s| s[0].logprob -= 0.03), ambiguous),
        ("far less likely", changed(|s| s[2].logprob -= 0.05), clear),
        ("another margin", changed(|s| s[0].margin -= 0.019), None),
        (
            "another margin, more so",
            changed(|s| s[0].margin -= 0.07),
            ambiguous,
        ),
        (
            "far another margin",
            changed(|s| s[0].margin -= 0.09),
            clear,
        ),
        (
            "a close call",
            changed(|s| s[1] = step(80, -0.76, 0.004)),
            ambiguous,
        ),
        (
            "not so close",
            changed(|s| s[1] = step(80, -0.76, 0.05)),
            ambiguous,
        ),
        (
            "not close at all",
            changed(|s| s[1] = step(80, -0.76, 0.09)),
            clear,
        ),
        (
            "no close call here",
            changed(|s| s[2] = step(80, -0.25, 0.01)),
            clear,
        ),
        (
            "ended at the close call",
            changed(|s| s.truncate(1)),
            ambiguous,
        ),
        ("ended elsewhere", changed(|s| s.truncate(2)), clear),
    ];
    for (what, right, expected) in cases {
        assert_eq!(graded(&RULE, &left, &right), expected, "{what}");
    }
    let other = encode(&honest(), b"abd").unwrap();
    assert_eq!(graded(&RULE, &left, &other), clear);
    let nothing = encode(&[], b"").unwrap();
    assert_eq!(graded(&RULE, &nothing, &nothing), None);
    assert_eq!(graded(&RULE, &left, &nothing), clear);
}

#[test]
fn what_follows_a_close_call_is_not_compared_and_what_precedes_it_is() {
    let left = encode(&honest(), b"abc").unwrap();
    let parted = |before: f32| {
        changed(|s| {
            s[0].logprob -= before;
            s[1] = step(80, -0.76, 0.0);
            s[2] = step(4000, -9.0, 0.0);
            s.push(step(5, -9.0, 7.0));
        })
    };
    let reason = |right: &[u8]| compare(&RULE, &left, right).unwrap_err().reason;
    assert_eq!(
        reason(&parted(0.0)),
        "token 1 is 8 against 80, each preferred by no more than 2e-2: what follows cannot be compared"
    );
    assert!(reason(&parted(0.02)).starts_with("the log-probability of token 0"));
    assert_eq!(graded(&RULE, &left, &parted(0.02)), Some(Grade::Ambiguous));
    assert_eq!(graded(&RULE, &left, &parted(0.05)), Some(Grade::Clear));
}

#[test]
fn drawn_tokens_may_part_where_the_draw_was_close() {
    let drawn = TokensRule {
        draws: Some(1e-3),
        ..RULE
    };
    let left = changed(|s| s[1].margin = 9e-4);
    for (margin, expected) in [
        (5e-4, Some(Grade::Ambiguous)),
        (3e-3, Some(Grade::Ambiguous)),
        (5e-3, Some(Grade::Clear)),
    ] {
        let right = changed(|s| s[1] = step(80, -3.0, margin));
        assert_eq!(graded(&drawn, &left, &right), expected, "{margin}");
    }
}

#[test]
fn a_drift_of_all_tokens_within_the_tolerance_is_seen_in_the_mean() {
    let strict = TokensRule {
        rms: Some(0.4),
        ..RULE
    };
    let text = |logprob: &dyn Fn(usize) -> f32| {
        let steps: Vec<Step> = (0..200)
            .map(|at| step(at as u32, logprob(at), 1.0))
            .collect();
        encode(&steps, b"").unwrap()
    };
    let left = text(&|_| -1.0);
    // One in ten is off by nearly the tolerance, the others hardly: rounding.
    let noisy = text(&|at| -1.0 - if at % 10 == 0 { 0.009 } else { 0.001 });
    let drifted = text(&|_| -1.009);
    for right in [&noisy, &drifted] {
        assert_eq!(graded(&RULE, &left, right), None);
    }
    assert_eq!(graded(&strict, &left, &noisy), None);
    assert_eq!(graded(&strict, &left, &drifted), Some(Grade::Ambiguous));
}

#[test]
fn malformed_outputs_are_refused_by_name_and_agree_with_nothing() {
    let good = encode(&honest(), b"abc").unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    let (nan, inf) = (f32::NAN.to_le_bytes(), f32::INFINITY.to_le_bytes());
    for (bytes, words) in [
        (vec![], "0 bytes, fewer than 16"),
        (with(0, b"X"), "begins with"),
        (with(4, &[2]), "version 2, the only one is 1"),
        (
            with(8, &[4]),
            "4 tokens and 3 bytes of text do not fill 39 bytes",
        ),
        (with(8, &[255; 4]), "4294967295 tokens, more than 131072"),
        (
            with(12, &[255; 4]),
            "4294967295 bytes of text, more than 4194304",
        ),
        (good[..good.len() - 1].to_vec(), "do not fill 38 bytes"),
        ([&good[..], b"d"].concat(), "do not fill 40 bytes"),
        (with(20, &nan), "the log-probability of token 0 is NaN"),
        (
            with(20, &0.5_f32.to_le_bytes()),
            "the log-probability of token 0 is 0.5",
        ),
        (with(24, &inf), "the margin of token 0 is inf"),
        (
            with(36, &(-1.0_f32).to_le_bytes()),
            "the margin of token 1 is -1",
        ),
    ] {
        let error = Tokens::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert_eq!(
            graded(&RULE, &good, &bytes),
            Some(Grade::Incomparable),
            "{words}"
        );
        assert_eq!(
            graded(&RULE, &bytes, &bytes),
            Some(Grade::Incomparable),
            "{words}"
        );
    }
    for bad in [
        step(0, f32::NAN, 0.0),
        step(0, 0.1, 0.0),
        step(0, -1.0, -0.1),
    ] {
        assert!(encode(&[bad], b"").is_err(), "{bad:?}");
    }
    assert!(encode(&vec![step(0, 0.0, 0.0); TOKENS_MAX as usize + 1], b"").is_err());
    assert!(encode(&[], &vec![0; TEXT_BYTES_MAX as usize + 1]).is_err());
}

/// What an honest model says of the honest output.
fn scored() -> Vec<Rescored> {
    let scored = honest().into_iter();
    scored
        .map(|s| Rescored::likeliest(s.token, s.logprob, s.token, s.logprob))
        .collect()
}

#[test]
fn a_claim_holds_if_its_tokens_are_the_models_choice_and_as_likely_as_claimed() {
    let bytes = encode(&honest(), b"abc").unwrap();
    let claim = Tokens::decode(&bytes).unwrap();
    let close = Rescored::likeliest(8, -0.755, 80, -0.74);
    let (ambiguous, clear) = (Some(Grade::Ambiguous), Some(Grade::Clear));
    for (at, real, expected) in [
        (0, Rescored::likeliest(7, -0.5, 7, -0.5), None),
        (1, close, None),
        (1, Rescored::likeliest(8, -0.75, 80, -0.70), ambiguous),
        // Right about how likely its tokens are, and they are not the choice.
        (1, Rescored::likeliest(8, -0.75, 80, -0.5), clear),
        // The choice, and wrong about how likely it is.
        (2, Rescored::likeliest(9, -0.28, 9, -0.28), ambiguous),
        (2, Rescored::likeliest(9, -0.75, 9, -0.75), clear),
        (2, Rescored::likeliest(9, f32::NEG_INFINITY, 5, -0.1), clear),
        (0, Rescored::drawn(-0.5, 0.0), None),
        (0, Rescored::drawn(-0.5, 0.3), clear),
        (0, Rescored::drawn(f32::NAN, 0.0), Some(Grade::Incomparable)),
        (
            0,
            Rescored::drawn(-0.5, f32::NAN),
            Some(Grade::Incomparable),
        ),
    ] {
        let mut scored = scored();
        scored[at] = real;
        let found = rescore(&RULE, &claim, &scored).err().map(|d| d.grade);
        assert_eq!(found, expected, "{at}: {real:?}");
    }
    let error = rescore(&RULE, &claim, &scored()[1..]).unwrap_err();
    assert_eq!(error.to_string(), "3 tokens were claimed and 2 scored");
}

/// A model of one's own choosing writes; the real one only scores what it wrote, and that is claimed.
/// Each log-probability is right, and some token is not what the real one would have written.
#[test]
fn a_cheap_model_cannot_write_what_the_real_one_merely_scores() {
    let real = |context: u32| -> (u32, f32) { (context * 7 % 50, -0.3) };
    let cheap = |context: u32| match context % 10 {
        // It would have written the same nine times of ten.
        3 => (context * 7 + 1) % 50,
        _ => real(context).0,
    };
    let score = |context: u32, token: u32| if token == real(context).0 { -0.3 } else { -2.5 };
    let (mut claimed, mut rescored) = (Vec::new(), Vec::new());
    let mut context = 1;
    for _ in 0..64 {
        let token = cheap(context);
        let logprob = score(context, token);
        claimed.push(step(token, logprob, 1.0));
        let (argmax, best) = real(context);
        rescored.push(Rescored::likeliest(token, logprob, argmax, best));
        context += token + 1;
    }
    let bytes = encode(&claimed, b"").unwrap();
    let verdict = rescore(&RULE, &Tokens::decode(&bytes).unwrap(), &rescored).unwrap_err();
    assert_eq!(verdict.grade, Grade::Clear);
    assert!(
        verdict.reason.contains("short of the choice by"),
        "{verdict}"
    );
}

proptest! {
    #[test]
    fn any_output_survives_its_encoding(
        steps in prop::collection::vec((any::<u32>(), -1e3..=0.0_f32, 0.0..1e3_f32), 0..20),
        text in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let steps: Vec<Step> = steps.into_iter().map(|(t, l, m)| step(t, l, m)).collect();
        let bytes = encode(&steps, &text).unwrap();
        let read = Tokens::decode(&bytes).unwrap();
        prop_assert_eq!(read.steps().collect::<Vec<_>>(), steps);
        prop_assert_eq!(read.text(), text);
        prop_assert_eq!(graded(&RULE, &bytes, &bytes), None);
    }
}
