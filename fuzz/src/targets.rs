//! What is tried: each target takes any bytes, must not panic, and checks what must hold of whatever
//! its decoder accepts. The test `fuzz` of the workspace runs the same functions.

/// A decoder and its name, which is also the name of its folder in `corpus`. It says whether it accepted
/// the bytes, so that a seed which no longer reaches what lies behind the decoder is noticed.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]) -> bool,
}

const fn target(name: &'static str, run: fn(&[u8]) -> bool) -> Target {
    Target { name, run }
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    target("manifest", manifest),
    target("package", package),
    target("envelope", envelope),
    target("statement", statement),
    target("accusation", accusation),
    target("items", items),
    target("array", array),
    target("component", component),
    target("message", message),
    target("frame", frame),
    target("model", model),
    target("tensor", tensor),
    target("compare-numeric", compare_numeric),
    target("compare-tokens", compare_tokens),
    target("compare-json", compare_json),
    target("compare-sketch", compare_sketch),
    target("tokens", tokens),
    target("toploc", toploc),
    target("projection", projection),
    target("merkle", merkle),
    target("verdict", verdict),
    target("game", game),
    target("openings", openings),
];

/// `job.toml`.
fn manifest(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| jobs::manifest::Manifest::parse(text).is_ok())
}

/// `game.toml`, and a signed game.
fn game(bytes: &[u8]) -> bool {
    use jobs::game::{GameText, SignedGame};
    std::str::from_utf8(bytes).is_ok_and(|text| {
        let signed = SignedGame::parse(text).is_ok_and(|signed| signed.verify().is_ok());
        signed || GameText::parse(text).is_ok()
    })
}

/// A package has one spelling.
fn package(bytes: &[u8]) -> bool {
    let Ok(package) = jobs::package::Package::from_canonical(bytes) else {
        return false;
    };
    assert_eq!(package.to_canonical().unwrap(), bytes);
    true
}

/// A package that came off the wire; and a key, a blob and a bundle over it, with a zero byte between
/// them. Nobody but the fuzzer's own seeds has signed anything, so whatever verifies is one of them: that
/// it is read must not do harm.
fn envelope(bytes: &[u8]) -> bool {
    let signed = postcard::from_bytes::<jobs::envelope::SignedPackage>(bytes);
    let package = signed.is_ok_and(|signed| signed.verify().is_ok());
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let (key, blob, bundle) = (parts.next(), parts.next(), parts.next());
    let blob = if let (Some(key), Some(blob), Some(bundle)) = (key, blob, bundle)
        && let (Ok(key), Ok(bundle)) = (std::str::from_utf8(key), std::str::from_utf8(bundle))
    {
        jobs::envelope::verify_blob(blob, bundle, key).is_ok()
    } else {
        false
    };
    package || blob
}

/// An accusation has one spelling.
fn accusation(bytes: &[u8]) -> bool {
    let Ok(accusation) = jobs::accusation::Accusation::from_canonical(bytes) else {
        return false;
    };
    assert_eq!(accusation.to_canonical().unwrap(), bytes);
    true
}

/// Statements between peers.
fn statement(bytes: &[u8]) -> bool {
    use jobs::statement::{Signed, Statement};
    fn read<T: Statement>(bytes: &[u8]) -> bool {
        postcard::from_bytes::<Signed<T>>(bytes).is_ok_and(|signed| signed.verify().is_ok())
    }
    let kinds = [
        read::<jobs::assignment::Assignment>(bytes),
        read::<jobs::commitment::Commitment>(bytes),
        read::<jobs::offer::Offer>(bytes),
        read::<jobs::game::report::ScoreReport>(bytes),
    ];
    let accepted = kinds.iter().filter(|accepted| **accepted).count();
    assert!(
        accepted <= 1,
        "one signature for {accepted} kinds of statement"
    );
    accepted == 1
}

/// A list of items has one encoding.
fn items(bytes: &[u8]) -> bool {
    let Ok(items) = jobs::items::decode(bytes) else {
        return false;
    };
    assert_eq!(jobs::items::encode(&items).unwrap(), bytes);
    true
}

/// An array of numbers is cut into rows that are all of it.
fn array(bytes: &[u8]) -> bool {
    let Ok(rows) = jobs::npy::split_rows(bytes) else {
        return false;
    };
    let all: usize = rows.iter().map(|row| row.len()).sum();
    assert!(all <= bytes.len());
    assert!(rows.windows(2).all(|two| two[0].len() == two[1].len()));
    true
}

/// What is accepted exports `run`.
fn component(bytes: &[u8]) -> bool {
    let Ok(summary) = jobs::component::check(bytes) else {
        return false;
    };
    assert!(summary.exports.iter().any(|name| name == "run"));
    let allowed = jobs::component::ALLOWED_IMPORTS;
    assert!(summary.imports.iter().all(|name| {
        allowed.contains(&name.as_str()) || jobs::component::wasi_interface(name).is_some()
    }));
    true
}

/// What a peer sends: the first byte says in which protocol.
fn message(bytes: &[u8]) -> bool {
    use network::protocol::{NAMES, understood};
    let Some((which, frame)) = bytes.split_first() else {
        return false;
    };
    let name = NAMES[usize::from(*which) % NAMES.len()];
    let (request, reply) = understood(name, frame).unwrap();
    request || reply
}

/// What a worker and its parent say to one another.
fn frame(bytes: &[u8]) -> bool {
    use runtime::worker::frame::Frame;
    use runtime::worker::protocol::{Request, Response};
    let mut pipe = bytes;
    let Ok(Some(frame)) = Frame::read(&mut pipe) else {
        return false;
    };
    let words = [
        frame.word::<Request>().is_ok(),
        frame.word::<Response>().is_ok(),
    ];
    let mut written = Vec::new();
    frame.write(&mut written).unwrap();
    assert_eq!(Frame::read(&mut written.as_slice()).unwrap(), Some(frame));
    words.contains(&true)
}

/// The look at a model before it is loaded.
fn model(bytes: &[u8]) -> bool {
    match host_gpu::inspect_model(bytes) {
        Ok(census) => {
            assert!(census.nodes <= bytes.len());
            true
        }
        Err(reason) => {
            assert!(!reason.is_empty() && reason.len() < 4096);
            false
        }
    }
}

/// A tensor is made only of as many bytes as its dimensions say. The first byte is its type, the
/// second its rank, four each its dimensions, the rest its data.
fn tensor(bytes: &[u8]) -> bool {
    let [ty, rank, rest @ ..] = bytes else {
        return false;
    };
    let all = host_gpu::ElementType::ALL;
    let ty = all[usize::from(*ty) % all.len()];
    let rank = usize::from(*rank) % (host_gpu::MAX_RANK + 4);
    let (dims, _) = rest.as_chunks::<4>();
    let dims: Vec<u32> = dims
        .iter()
        .take(rank)
        .map(|dim| u32::from_le_bytes(*dim))
        .collect();
    let data = &rest[dims.len() * 4..];
    let Ok(tensor) = host_gpu::TensorValue::from_bytes(ty, &dims, data) else {
        return false;
    };
    let elements = match dims.contains(&0) {
        true => 0,
        false => dims.iter().map(|dim| *dim as usize).product(),
    };
    assert_eq!(elements * ty.size_bytes(), data.len());
    assert_eq!(tensor.host_bytes().unwrap(), data);
    true
}

/// Two outputs: the first two bytes are the length of one, little-endian, the rest is both. No comparator
/// minds their order, and what means anything to it agrees with itself. Whether both do.
fn pair(comparator: &jobs::compare::Comparator, bytes: &[u8]) -> bool {
    use jobs::compare::{Grade, compare};
    let Some((length, both)) = bytes.split_first_chunk::<2>() else {
        return false;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(both.len());
    let (left, right) = both.split_at(length);
    let grade = |a: &[u8], b: &[u8]| compare(comparator, &[a], &[b]).err().map(|d| d.grade);
    assert_eq!(grade(left, right), grade(right, left));
    [left, right].iter().all(|one| match grade(one, one) {
        None => true,
        Some(Grade::Incomparable) => false,
        Some(other) => panic!("an output and itself: {other:?}"),
    })
}

/// Arrays. The first byte says of what, and which of the further rules hold.
fn compare_numeric(bytes: &[u8]) -> bool {
    use jobs::package::Dtype;
    let Some((how, bytes)) = bytes.split_first() else {
        return false;
    };
    let types = [Dtype::F16, Dtype::F32, Dtype::F64];
    let comparator = jobs::compare::Comparator::Numeric {
        dtype: types[usize::from(*how) % types.len()],
        atol: 1e-3,
        rtol: 1e-3,
        min_cosine: if how & 16 == 0 { -1.0 } else { 0.999 },
        top1: (how & 32 != 0).then_some(1e-4),
        rms: (how & 64 != 0).then_some(0.5),
    };
    pair(&comparator, bytes)
}

/// What two models wrote.
fn compare_tokens(bytes: &[u8]) -> bool {
    let rule = jobs::compare::tokens::TokensRule {
        atol: 0.01,
        draws: None,
        rms: Some(0.5),
    };
    pair(&jobs::compare::Comparator::Tokens(rule), bytes)
}

/// Two JSON values. The first line is a pointer to a field that is compared by a tolerance.
fn compare_json(bytes: &[u8]) -> bool {
    use jobs::compare::json::{Field, FieldRule, JsonRule};
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return false;
    };
    let rule = FieldRule::Numeric {
        atol: 0.01,
        rtol: 0.01,
    };
    let pointer = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let fields = vec![Field { pointer, rule }];
    let comparator = jobs::compare::Comparator::Json(JsonRule { fields });
    pair(&comparator, &bytes[end + 1..])
}

/// A rule of small chunks, so that a small input has several.
fn sketch_rule(how: u8) -> jobs::compare::sketch::SketchRule {
    use jobs::compare::sketch::{SketchRule, TopRule};
    let top = TopRule {
        chunk: 64,
        top_k: 1,
        mismatches: 0,
        mean: 2.0,
        median: 2.0,
    };
    match how % 3 {
        0 => SketchRule::Toploc(top),
        1 => SketchRule::ToplocF32(top),
        _ => SketchRule::Projection {
            dims: 16,
            distance: 0.1,
        },
    }
}

/// Two tensors by their sketches, and one against bytes that may be a sketch.
fn compare_sketch(bytes: &[u8]) -> bool {
    use jobs::compare::sketch::{check, sketch};
    let Some((how, bytes)) = bytes.split_first() else {
        return false;
    };
    let rule = sketch_rule(*how);
    let both = pair(&jobs::compare::Comparator::Fingerprint(rule), bytes);
    let middle = bytes.len() / 2;
    let (output, claimed) = bytes.split_at(middle - middle % 4);
    drop(check(&rule, output, claimed, &[7; 32]));
    if let Ok(own) = sketch(&rule, output, &[7; 32]) {
        check(&rule, output, &own, &[7; 32]).unwrap();
        return true;
    }
    both
}

/// Tokens v1 has one encoding.
fn tokens(bytes: &[u8]) -> bool {
    use jobs::compare::tokens::{Rescored, Step, Tokens, TokensRule, encode, rescore};
    let Ok(tokens) = Tokens::decode(bytes) else {
        return false;
    };
    let steps: Vec<Step> = tokens.steps().collect();
    assert_eq!(encode(&steps, tokens.text()).unwrap(), bytes);
    let scored = |step: &Step| Rescored::likeliest(step.token, step.logprob, step.token, 0.0);
    let scored: Vec<Rescored> = steps.iter().map(scored).collect();
    let rule = TokensRule {
        atol: 0.0,
        draws: None,
        rms: None,
    };
    rescore(&rule, &tokens, &scored).unwrap();
    true
}

/// A TOPLOC proof has one encoding, and whatever is one says how far a tensor is. The first byte is the
/// number of its values and the form, the rest the proof and a tensor.
fn toploc(bytes: &[u8]) -> bool {
    use jobs::compare::sketch::toploc::{Form, Proof};
    let Some((how, bytes)) = bytes.split_first() else {
        return false;
    };
    let (form, top_k) = match how & 1 {
        0 => (Form::Bf16, u16::from(how / 2) % 16),
        _ => (Form::F32, u16::from(how / 2) % 16),
    };
    let length = usize::from(top_k) * form.size() + if form == Form::Bf16 { 2 } else { 0 };
    let (proof, tensor) = bytes.split_at(length.min(bytes.len()));
    if let Ok(read) = Proof::decode(form, top_k, proof) {
        assert_eq!(read.encode(), proof);
        if let Ok(distance) = read.distance(tensor) {
            assert!(distance.mismatches <= u32::from(top_k));
            assert!(distance.mean >= 0.0 && distance.median >= 0.0);
        }
    }
    let made = Proof::build(form, tensor, top_k);
    if let Ok(made) = &made {
        assert_eq!(made.distance(tensor).unwrap().mean, 0.0);
    }
    made.is_ok()
}

/// A projection has one encoding. The first byte is the number of its numbers.
fn projection(bytes: &[u8]) -> bool {
    use jobs::compare::sketch::projection::Projection;
    let Some((dims, bytes)) = bytes.split_first() else {
        return false;
    };
    if let Ok(read) = Projection::decode(*dims, bytes) {
        assert_eq!(read.encode(), bytes);
        assert_eq!(read.distance(&read), Some(0.0));
    }
    let made = Projection::of(bytes, *dims, &[7; 32]);
    if let Ok(made) = &made {
        assert_eq!(Projection::decode(*dims, &made.encode()).unwrap(), *made);
    }
    made.is_ok()
}

/// Nothing but an item of the list, at its own place, is proved to be in it. The first byte is the length
/// of a proof, in postcard; the rest of the input is cut at its zeros into items.
fn merkle(bytes: &[u8]) -> bool {
    use jobs::merkle::{Proof, prove, root, verify};
    let Some((length, rest)) = bytes.split_first() else {
        return false;
    };
    let (proof, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    let items: Vec<&[u8]> = rest.split(|byte| *byte == 0).collect();
    let root = root(&items);
    let proof = postcard::from_bytes::<Proof>(proof);
    if let Ok(proof) = &proof {
        for item in &items {
            let found = items.get(proof.index as usize);
            assert!(!verify(&root, item, proof) || found == Some(item));
        }
    }
    let last = (items.len() - 1) as u32;
    for index in [0, last] {
        let proof = prove(&items, index).unwrap();
        assert!(verify(&root, items[index as usize], &proof));
    }
    assert!(prove(&items, last + 1).is_none());
    proof.is_ok()
}

/// What a provider opens of what it noted: chunks that prove themselves read back as they are, and agree with
/// themselves. A root, a seed, how many places follow from it, and the chunks.
fn openings(bytes: &[u8]) -> bool {
    use jobs::digest::Digest;
    use jobs::openings::{Noted, Opened, OpeningsRule, agree, check, places};
    let read = postcard::from_bytes::<(Noted, Digest, u16, Vec<Opened>)>(bytes);
    let Ok((noted, seed, count, opened)) = read else {
        return false;
    };
    let places = places(&seed, count, noted.chunks);
    assert!(places.iter().all(|place| *place < noted.chunks));
    let Ok(chunks) = check(&noted, &places, &opened) else {
        return false;
    };
    let rule = OpeningsRule {
        graph: String::new(),
        tensor: String::new(),
        count,
        atol: 0.0,
        rtol: 0.0,
    };
    for (chunk, opened) in chunks.iter().zip(&opened) {
        assert_eq!(chunk.to_bytes().as_slice(), opened.chunk);
    }
    assert!(agree(&rule, (&noted, &chunks), (&noted, &chunks)).is_ok());
    true
}

/// The accepted agree with one another and are a quorum. The first byte is the number of replicas, the
/// second the quorum, the rest who agrees with whom, a bit each.
fn verdict(bytes: &[u8]) -> bool {
    use jobs::verdict::{REPLICAS_MAX, Verdict, judge};
    let [replicas, quorum, bits @ ..] = bytes else {
        return false;
    };
    let (replicas, quorum) = (usize::from(*replicas) % 16, usize::from(*quorum) % 16);
    let agree = |i: usize, j: usize| {
        assert!(i < j && j < REPLICAS_MAX);
        let at = i * REPLICAS_MAX + j;
        bits.get(at / 8)
            .is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    };
    match judge(replicas, quorum, agree) {
        Verdict::Accepted { agreeing } => {
            assert!(agreeing.len() >= quorum.max(1));
            let pairs = agreeing.iter().enumerate();
            for (at, i) in pairs {
                assert!(agreeing[at + 1..].iter().all(|j| agree(*i, *j)));
            }
        }
        Verdict::Undecided { more } => assert!(more > 0),
    }
    true
}
