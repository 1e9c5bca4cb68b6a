//! One hostile case: what is run, under which limits, and how it must end.

use jobs::package::Limits;

/// Limits that no small guest comes near.
const WIDE: Limits = Limits {
    fuel: 1_000_000_000,
    memory_bytes: 16 << 20,
    output_bytes_per_item: 1 << 20,
    wall_ms: 60_000,
};

/// How a case must end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The items come back: the case stays within its bound, or its guest saw what it had to see.
    Answers,
    /// One of these kinds of failure, whose message has these words.
    Fails(&'static [&'static str], &'static str),
}

/// A component, the models it names, its items and its limits.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) make: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    pub(crate) models: Vec<(&'static str, Vec<u8>)>,
    pub(crate) items: Vec<Vec<u8>>,
    pub(crate) limits: Limits,
    pub(crate) end: End,
}

impl Case {
    fn new(
        name: &'static str,
        make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
        end: End,
    ) -> Self {
        Self {
            name,
            make: Box::new(make),
            models: Vec::new(),
            items: vec![b"one".to_vec(), b"two".to_vec()],
            limits: WIDE,
            end,
        }
    }

    /// The same case under other limits.
    pub(crate) fn under(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// The same case with another item in place of its two.
    pub(crate) fn item(mut self, item: Vec<u8>) -> Self {
        self.items = vec![item];
        self
    }

    /// The same case with a model.
    pub(crate) fn model(mut self, name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.models.push((name, bytes.into()));
        self
    }
}

/// Stays within its bound, or is answered by an error that its guest expects.
pub(crate) fn works(
    name: &'static str,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> Case {
    Case::new(name, make, End::Answers)
}

/// Is stopped by name.
pub(crate) fn fails(
    name: &'static str,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    kind: &'static str,
    words: &'static str,
) -> Case {
    let kinds: &[&str] = match KINDS.iter().find(|known| known[0] == kind) {
        Some(known) => known,
        None => panic!("{name}: no such kind of failure: {kind}"),
    };
    Case::new(name, make, End::Fails(kinds, words))
}

/// Is stopped by one of two names: which of them is for the machine's memory and pace to say.
pub(crate) fn fails_as(
    name: &'static str,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    kinds: &'static [&'static str],
    words: &'static str,
) -> Case {
    Case::new(name, make, End::Fails(kinds, words))
}

/// The kinds of failure, as they are called in code.
const KINDS: &[&[&str]] = &[
    &["Guest"],
    &["Component"],
    &["Trap"],
    &["FuelExhausted"],
    &["MemoryLimit"],
    &["TableLimit"],
    &["InstanceLimit"],
    &["StackLimit"],
    &["HostcallLimit"],
    &["HandleLimit"],
    &["ResourceLimit"],
    &["OutputLimit"],
    &["OutputCount"],
    &["LogLimit"],
    &["LogLines"],
    &["ModelRefused"],
    &["Task"],
    &["Deadline"],
    &["Device"],
    &["Blob"],
    &["WorkerLost"],
];
