use super::*;

fn fingerprint(options: &str) -> Fingerprint {
    Fingerprint {
        engine: "wasmtime".into(),
        library: "onnxruntime".into(),
        execution_provider: "CPUExecutionProvider".into(),
        device: "x86_64 avx2".into(),
        options: options.into(),
    }
}

/// So many answers of three elements, each element moved by a part of `noise`.
fn answers(samples: usize, noise: f64) -> Vec<Vec<f64>> {
    let answer = |sample: usize| {
        // Distances differ from sample to sample, as real ones do.
        let noise = noise * (1.0 + sample as f64 / samples as f64);
        vec![1.0 + noise, 0.5 - noise, -0.25 * (sample as f64 + 1.0)]
    };
    (0..samples).map(answer).collect()
}

fn run(name: &str, noise: f64) -> Run {
    Run {
        name: name.into(),
        fingerprint: fingerprint(name),
        batch: 1,
        counted: true,
        answers: answers(20, noise),
    }
}

fn cheat(name: &str, noise: f64) -> Cheating {
    Cheating {
        name: name.into(),
        how: "moved".into(),
        answers: answers(20, noise),
    }
}

fn measured() -> Measured {
    Measured {
        model: BlobRef::of(b"model"),
        signature: Signature {
            inputs: vec!["x f32 [any, 4]".into()],
            outputs: vec!["y f32 [any, 3]".into()],
        },
        subject: Subject {
            output: "y".into(),
            dtype: Dtype::F32,
            last_position: false,
            any_batch: true,
            samples: 20,
            inputs: "20 at random, seed 1, length 16".into(),
            inputs_digest: Digest::of(b"samples"),
        },
        runs: vec![
            run("as jobs run", 0.0),
            run("2 threads", 0.0),
            run("off", 1e-6),
        ],
        cheats: vec![cheat("small", 1e-7), cheat("large", 1e-2)],
        skipped: vec![Skipped {
            what: "cuda".into(),
            why: "there is none".into(),
        }],
        machine: "a machine".into(),
    }
}

const SETTINGS: Settings = Settings {
    fpr: 1e-6,
    safety: 10.0,
};

pub(crate) fn profile() -> ToleranceProfile {
    ToleranceProfile::measure(measured(), SETTINGS).unwrap()
}

#[test]
fn honest_answers_agree_and_cheats_beyond_the_noise_do_not() {
    let profile = profile();
    let noise = &profile.noise;
    assert_eq!((noise.pairs, noise.identical, noise.flips), (60, 20, 0));
    assert!(noise.max_norm.largest > 1e-7 && noise.max_norm.largest < 3e-6);
    let rtol = profile.tolerance.rtol;
    assert!(
        rtol >= 10.0 * noise.max_norm.largest && rtol < 1e-3,
        "{rtol}"
    );
    assert_eq!(profile.tolerance.top1_margin, 2.0 * rtol);
    assert!(
        (profile.honest.proven - 0.139).abs() < 1e-3,
        "three by twenty"
    );
    assert!(profile.honest.estimate.unwrap() <= 1e-6);
    let [small, large, careful] = &profile.cheats[..] else {
        panic!("two cheats and the careful one");
    };
    assert_eq!(
        (careful.caught, careful.verdict),
        (0, Detection::NotDetected)
    );
    assert!(
        careful.how.contains("changes the largest in 0 of 20"),
        "{}",
        careful.how
    );
    assert_eq!((small.caught, small.verdict), (0, Detection::NotDetected));
    assert_eq!(small.among[2].rate, 0.0);
    assert_eq!((large.caught, large.verdict), (20, Detection::Detected));
    assert!(large.per_item_low > 0.86 && large.per_item_low < 0.87);
}

#[test]
fn what_agrees_to_the_bit_still_leaves_room_for_rounding() {
    let mut same = measured();
    same.runs.truncate(2);
    let profile = ToleranceProfile::measure(same, SETTINGS).unwrap();
    assert_eq!(profile.noise.identical, profile.noise.pairs);
    assert_eq!(profile.tolerance.rtol, 1.6e-5);
    assert_eq!(profile.honest.tail, None);
    assert_eq!(profile.honest.estimate, None);
}

/// As those of probabilities near one are: of every order of magnitude.
#[test]
fn a_wide_tail_is_said_and_loosens_nothing() {
    let mut wide = measured();
    for (answer, at) in wide.runs[2].answers.iter_mut().zip(0_i32..) {
        answer[0] = 1.0 + 1e-3 * 0.3_f64.powi(at);
    }
    let profile = ToleranceProfile::measure(wide, SETTINGS).unwrap();
    let (rtol, seen) = (profile.tolerance.rtol, profile.noise.max_norm.largest);
    assert!(rtol >= 10.0 * seen && rtol <= 11.0 * seen, "{rtol} {seen}");
    assert!(
        profile.honest.estimate.unwrap() > 1e-6,
        "{:?}",
        profile.honest
    );
}

#[test]
fn what_is_not_counted_is_shown_and_moves_nothing() {
    let mut with = measured();
    with.runs.push(Run {
        counted: false,
        batch: 8,
        ..run("batch of 8", 0.3)
    });
    let with = ToleranceProfile::measure(with, SETTINGS).unwrap();
    assert_eq!(with.tolerance, profile().tolerance);
    assert!(with.variants[3].max_norm > 0.1 && !with.variants[3].counted);
}

#[test]
fn a_tampered_answer_has_another_largest_element() {
    let honest = answers(4, 0.0);
    let tampered = Cheating::tampered(&honest);
    for (before, after) in honest.iter().zip(&tampered.answers) {
        let found = statistics::distance(before, after);
        assert!(found.flip.is_some(), "{before:?} {after:?}");
        let changed = before.iter().zip(after).filter(|(a, b)| a != b);
        assert_eq!(changed.count(), 1);
    }
}

/// A change of what was measured, and words of the refusal.
type Refusal = (fn(&mut Measured), &'static str);

#[test]
fn what_is_no_measurement_is_refused_by_name() {
    let cases: [Refusal; 9] = [
        (
            |m| m.runs[1].answers[3][2] = f64::NAN,
            "\"2 threads\", sample 4: element 2 is NaN",
        ),
        (
            |m| m.cheats[0].answers[0][0] = f64::INFINITY,
            "\"small\", sample 1: element 0 is inf",
        ),
        (
            |m| m.cheats[1].answers[0].truncate(2),
            "\"large\", sample 1: has 2 elements, expected 3",
        ),
        (
            |m| drop(m.runs[2].answers.pop()),
            "\"off\": gave 19 answers to 20 samples",
        ),
        (|m| m.runs.truncate(1), "counted variants = 1"),
        (|m| m.runs[0].counted = false, "counted variants = 2"),
        (|m| m.subject.samples = 0, "samples = 0: must be 1 to 4096"),
        (
            |m| m.machine = "x".repeat(513),
            "has 513 bytes, at most 512",
        ),
        (
            |m| m.runs[1].answers = answers(20, 0.9),
            "too far apart for any tolerance",
        ),
    ];
    for (change, expected) in cases {
        let mut measured = measured();
        change(&mut measured);
        let error = ToleranceProfile::measure(measured, SETTINGS).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
    for (fpr, safety, expected) in [
        (0.0, 10.0, "fpr = 0"),
        (0.5, 10.0, "fpr = 0.5"),
        (f64::NAN, 10.0, "fpr = NaN"),
        (1e-6, 0.9, "safety = 0.9"),
        (1e-6, f64::INFINITY, "safety = inf"),
    ] {
        let settings = Settings { fpr, safety };
        let error = ToleranceProfile::measure(measured(), settings).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

/// Floats written by another version of this crate must mean the same.
#[test]
fn the_golden_profile_has_these_bytes_and_this_identity() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/profile/golden.json");
    let canonical = profile().to_canonical().unwrap();
    let canonical = String::from_utf8(canonical).unwrap();
    if std::env::var_os("ASSAY_BLESS").is_some() {
        std::fs::write(path, format!("{canonical}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(golden.trim_end(), canonical);
    let read: ToleranceProfile = serde_json::from_str(&golden).unwrap();
    assert_eq!(read, profile());
    assert_eq!(read.digest().unwrap(), profile().digest().unwrap());
}

#[test]
fn a_signed_profile_verifies_and_a_tampered_one_does_not() {
    let key = ClientKey::generate().unwrap();
    let signed = profile().sign(&key).unwrap();
    let text = signed.to_text().unwrap();
    let verified = SignedProfile::parse(&text).unwrap().verify().unwrap();
    assert_eq!(verified.signer, key.client_id());
    assert_eq!(verified.profile, profile());
    assert_eq!(verified.digest, profile().digest().unwrap());
    // Another spelling of the file is the same profile.
    let dense = serde_json::to_string(&signed).unwrap();
    let again = SignedProfile::parse(&dense).unwrap().verify().unwrap();
    assert_eq!(again.digest, verified.digest);

    let mut looser = signed.clone();
    looser.profile.tolerance.rtol = 0.5;
    let mut other = signed.clone();
    other.profile.model = BlobRef::of(b"other");
    let mut kind = signed.clone();
    kind.profile.kind = "assay/other/v1".into();
    let mut rtol = signed;
    rtol.profile.tolerance.rtol = f64::NAN;
    for (tampered, expected) in [
        (looser, "signed content has digest"),
        (other, "signed content has digest"),
        (kind, "profile.kind"),
        (rtol, "profile.tolerance.rtol"),
    ] {
        let error = tampered.verify().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for bad in [
        "{}".to_owned(),
        text.replacen("\"kind\"", "\"kinds\"", 1),
        text.replacen("\"schema\": 1", "\"schema\": 1, \"schema\": 1", 1),
        " ".repeat(PROFILE_BYTES_MAX + 1),
    ] {
        assert!(SignedProfile::parse(&bad).is_err(), "{}", bad.len());
    }
}

#[test]
fn a_signature_over_the_bare_bytes_is_none_over_the_profile() {
    let key = ClientKey::generate().unwrap();
    let mut signed = profile().sign(&key).unwrap();
    signed.bundle = key.sign_blob(&profile().to_canonical().unwrap()).unwrap();
    assert!(matches!(signed.verify(), Err(Error::DigestMismatch { .. })));
}

#[test]
fn answers_are_read_as_their_type_says() {
    let halves = half::f16::from_f32(1.5).to_le_bytes();
    assert_eq!(elements(Dtype::F16, &halves).unwrap(), [1.5]);
    assert_eq!(
        elements(Dtype::F32, &0.25_f32.to_le_bytes()).unwrap(),
        [0.25]
    );
    assert_eq!(elements(Dtype::F64, &0.1_f64.to_le_bytes()).unwrap(), [0.1]);
    assert!(elements(Dtype::F32, &[0; 6]).is_err());
}
