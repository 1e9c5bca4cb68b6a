//! What is tried: each target takes any bytes, must not panic, and checks what must hold of whatever
//! its decoder accepts. The test `fuzz` of the workspace runs the same functions.

/// A decoder and its name, which is also the name of its folder in `corpus`.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
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
fn manifest(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(jobs::manifest::Manifest::parse(text));
    }
}

/// A package has one spelling.
fn package(bytes: &[u8]) {
    if let Ok(package) = jobs::package::Package::from_canonical(bytes) {
        assert_eq!(package.to_canonical().unwrap(), bytes);
    }
}

/// A bundle over a blob, and a package that came off the wire. Nobody but the fuzzer's own seeds has
/// signed anything, so whatever verifies is one of them: that it is read must not do harm.
fn envelope(bytes: &[u8]) {
    if let Ok(signed) = postcard::from_bytes::<jobs::envelope::SignedPackage>(bytes) {
        drop(signed.verify());
    }
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let (key, blob, bundle) = (parts.next(), parts.next(), parts.next());
    if let (Some(key), Some(blob), Some(bundle)) = (key, blob, bundle)
        && let (Ok(key), Ok(bundle)) = (std::str::from_utf8(key), std::str::from_utf8(bundle))
    {
        drop(jobs::envelope::verify_blob(blob, bundle, key));
    }
}

/// Statements between peers.
fn statement(bytes: &[u8]) {
    use jobs::statement::{Signed, Statement};
    fn read<T: Statement>(bytes: &[u8]) {
        if let Ok(signed) = postcard::from_bytes::<Signed<T>>(bytes) {
            drop(signed.verify());
        }
    }
    read::<jobs::assignment::Assignment>(bytes);
    read::<jobs::commitment::Commitment>(bytes);
    read::<jobs::offer::Offer>(bytes);
}

/// A list of items has one encoding.
fn items(bytes: &[u8]) {
    if let Ok(items) = jobs::items::decode(bytes) {
        assert_eq!(jobs::items::encode(&items).unwrap(), bytes);
    }
}

/// An array of numbers is cut into rows that are all of it.
fn array(bytes: &[u8]) {
    if let Ok(rows) = jobs::npy::split_rows(bytes) {
        let all: usize = rows.iter().map(|row| row.len()).sum();
        assert!(all <= bytes.len());
        assert!(rows.windows(2).all(|two| two[0].len() == two[1].len()));
    }
}

/// What is accepted exports `run`.
fn component(bytes: &[u8]) {
    if let Ok(summary) = jobs::component::check(bytes) {
        assert!(summary.exports.iter().any(|name| name == "run"));
        let allowed = jobs::component::ALLOWED_IMPORTS;
        assert!(
            summary
                .imports
                .iter()
                .all(|name| allowed.contains(&name.as_str()))
        );
    }
}

/// What a peer sends: the first byte says in which protocol.
fn message(bytes: &[u8]) {
    use network::protocol::{NAMES, understood};
    let Some((which, frame)) = bytes.split_first() else {
        return;
    };
    let name = NAMES[usize::from(*which) % NAMES.len()];
    assert!(understood(name, frame).is_some());
}

/// What a worker and its parent say to one another.
fn frame(bytes: &[u8]) {
    use runtime::worker::frame::Frame;
    use runtime::worker::protocol::{Request, Response};
    let mut pipe = bytes;
    if let Ok(Some(frame)) = Frame::read(&mut pipe) {
        drop(frame.word::<Request>());
        drop(frame.word::<Response>());
        let mut written = Vec::new();
        frame.write(&mut written).unwrap();
        assert_eq!(Frame::read(&mut written.as_slice()).unwrap(), Some(frame));
    }
}

/// The look at a model before it is loaded.
fn model(bytes: &[u8]) {
    match host_gpu::inspect_model(bytes) {
        Ok(census) => assert!(census.nodes <= bytes.len()),
        Err(reason) => assert!(!reason.is_empty() && reason.len() < 4096),
    }
}

/// A tensor is made only of as many bytes as its dimensions say. The first byte is its type, the
/// second its rank, four each its dimensions, the rest its data.
fn tensor(bytes: &[u8]) {
    let [ty, rank, rest @ ..] = bytes else {
        return;
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
    if let Ok(tensor) = host_gpu::TensorValue::from_bytes(ty, &dims, data) {
        let elements = match dims.contains(&0) {
            true => 0,
            false => dims.iter().map(|dim| *dim as usize).product(),
        };
        assert_eq!(elements * ty.size_bytes(), data.len());
        assert_eq!(tensor.host_bytes().unwrap(), data);
    }
}
