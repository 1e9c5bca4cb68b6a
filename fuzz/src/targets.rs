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
    target("items", items),
    target("array", array),
    target("component", component),
    target("message", message),
    target("frame", frame),
    target("model", model),
    target("tensor", tensor),
];

/// `job.toml`.
fn manifest(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| jobs::manifest::Manifest::parse(text).is_ok())
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
    assert!(
        summary
            .imports
            .iter()
            .all(|name| allowed.contains(&name.as_str()))
    );
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
