//! One hostile case: what is run, under which limits, and how it must end.

use jobs::package::Limits;

/// Limits that no small guest comes near.
const WIDE: Limits = Limits {
    fuel: 1_000_000_000,
    memory_bytes: 16 << 20,
    output_bytes_per_item: 1 << 20,
    wall_ms: 60_000,
};

/// What a worker may hold beyond its guest's limit, in bytes: its program and engine, and copies of what
/// crosses the border. At most 31 MiB were seen, for a guest of ten megabytes of data.
const SPARE_BYTES: u64 = 64 << 20;

/// A kind of failure, as it is called in code, and words of its message.
pub(crate) type Way = (&'static str, &'static str);

/// How a case must end.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The items come back: the case stays within its bound, or its guest saw what it had to see.
    Answers,
    /// One of these.
    Fails(Vec<Way>),
}

/// A component, the models it names, its items and its limits.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) make: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    pub(crate) models: Vec<(&'static str, Vec<u8>)>,
    pub(crate) items: Vec<Vec<u8>>,
    pub(crate) limits: Limits,
    pub(crate) end: End,
    /// Bytes that a worker may hold beyond the limit on memory.
    pub(crate) spare: u64,
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
            spare: SPARE_BYTES,
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

    /// The same case, whose worker may hold so many bytes beyond the limit on memory.
    pub(crate) fn sparing(mut self, bytes: u64) -> Self {
        self.spare = bytes;
        self
    }

    /// Whether the clock, and nothing else, ends it.
    pub(crate) fn is_timed(&self) -> bool {
        matches!(&self.end, End::Fails(ways) if ways.iter().all(|(kind, _)| *kind == "Deadline"))
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
    fails_as(name, make, &[(kind, words)])
}

/// Is stopped by one of these names: which of them is for the machine's memory and pace to say.
pub(crate) fn fails_as(
    name: &'static str,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    ways: &[Way],
) -> Case {
    for (kind, words) in ways {
        assert!(KINDS.contains(kind), "{name}: no kind of failure is {kind}");
        assert!(!words.is_empty(), "{name}: any message would do");
    }
    Case::new(name, make, End::Fails(ways.to_vec()))
}

/// The kinds of failure, as they are called in code.
const KINDS: &[&str] = &[
    "Guest",
    "Component",
    "Trap",
    "FuelExhausted",
    "MemoryLimit",
    "TableLimit",
    "InstanceLimit",
    "StackLimit",
    "HostcallLimit",
    "HandleLimit",
    "ResourceLimit",
    "OutputLimit",
    "OutputCount",
    "LogLimit",
    "LogLines",
    "ModelRefused",
    "Task",
    "Deadline",
    "Device",
    "Blob",
    "WorkerLost",
];
