//! The jobs of the matrix, and what an honest execution of them gives.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use jobs::digest::Digest;
use serde_json::json;

use super::{Case, Settings};
use crate::component::{embed_component, generate_component};
use crate::{Plan, assay, repository};

/// Items of a job.
const ITEMS: u32 = 4;
/// Items of a shard.
pub(super) const ITEMS_PER_SHARD: u32 = 2;
/// Every so-manieth job embeds.
const EMBED_EVERY: u32 = 5;
/// Tokens that are written for an item.
const TOKENS: u32 = 24;
/// Largest difference of two honest numbers of one embedding, absolute and relative, as in the manifest.
const TOLERANCE: (f32, f32) = (1e-4, 1e-3);

/// How answers are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Two replicas, more while they disagree.
    Replicate,
    /// One replica, audited by chance.
    Audit,
}

impl Policy {
    /// So many honest providers and their aggregator. Where answers are audited, the first two are its referees; a
    /// record of twenty checks brings the audits down to their floor, and an answer is final by a last sample after
    /// a second, because nobody answers a quarter of a million more here.
    pub(super) fn market(self, honest: usize) -> Plan {
        let plan = Plan::honest(honest);
        match self {
            Self::Replicate => plan,
            Self::Audit => {
                let arguments = ["--finality-s=1", "--audit=ramp_checks=20"];
                let plan = plan.referees(2);
                arguments.into_iter().fold(plan, Plan::aggregator_argument)
            }
        }
    }

    /// What it is in a manifest.
    const fn lines(self) -> &'static str {
        match self {
            Self::Replicate => "policy = \"replicate\"\nreplicas = 2\nmax_replicas = 5\n",
            Self::Audit => "policy = \"audit\"\nreplicas = 1\nmax_replicas = 6\n",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replicate => "replicate",
            Self::Audit => "audit",
        })
    }
}

impl FromStr for Policy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "replicate" => Ok(Self::Replicate),
            "audit" => Ok(Self::Audit),
            other => bail!("{other:?} is no policy: replicate or audit"),
        }
    }
}

/// What is done with items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Texts continued by `tinylm`, compared exactly.
    Generate,
    /// Lines embedded by MiniLM, compared as numbers.
    Embed,
}

/// Items and the honest answers to them.
#[derive(Debug)]
pub struct Workload {
    generate: Part,
    embed: Part,
}

/// The items of one kind.
#[derive(Debug)]
struct Part {
    kind: Kind,
    component: PathBuf,
    items: Vec<String>,
    answers: Vec<Vec<u8>>,
}

/// One job.
#[derive(Debug)]
pub(super) struct MatrixJob<'a> {
    part: &'a Part,
    name: String,
    device: &'static str,
    items: &'a [String],
    answers: &'a [Vec<u8>],
}

/// The model of bytes that lies in the repository.
pub(super) fn tinylm() -> PathBuf {
    repository().join("host-gpu/tests/data/tinylm.onnx")
}

impl Workload {
    /// So many jobs' items, executed once on this machine; without `embeds` none of them embeds.
    ///
    /// # Errors
    /// If a guest cannot be built, a model is missing or an execution fails.
    pub fn new(jobs: u32, embeds: bool) -> Result<Self> {
        let verses = fs::read_to_string(repository().join("examples/embed/data/lines.txt"))?;
        let verses: Vec<&str> = verses.lines().filter(|line| line.len() > 40).collect();
        let wanted = jobs.saturating_mul(ITEMS) as usize;
        ensure!(
            wanted <= verses.len(),
            "{jobs} jobs want {wanted} lines, there are {}",
            verses.len()
        );
        let begin = |verse: &&str| {
            // A text of the model's takes bytes, and begins within its context.
            let prompt: String = verse.chars().filter(char::is_ascii).take(32).collect();
            json!({ "prompt": prompt, "max_new_tokens": TOKENS }).to_string()
        };
        let verses = verses.get(..wanted).unwrap_or_default();
        let generate = verses.iter().map(begin).collect();
        let embedded = jobs / EMBED_EVERY * u32::from(embeds) * ITEMS;
        let lines = verses.iter().take(embedded as usize);
        let lines: Vec<String> = lines.map(|verse| (*verse).to_owned()).collect();
        let generate = Part::executed(Kind::Generate, generate_component()?, generate)?;
        let embed = match lines.is_empty() {
            false => Part::executed(Kind::Embed, embed_component()?, lines)?,
            true => Part::empty(Kind::Embed),
        };
        Ok(Self { generate, embed })
    }

    pub(super) fn job(&self, case: &Case, number: u32) -> MatrixJob<'_> {
        let embeds = number % EMBED_EVERY == EMBED_EVERY - 1 && case.embeds;
        let (part, at) = match embeds && !self.embed.items.is_empty() {
            true => (&self.embed, number / EMBED_EVERY),
            false => (&self.generate, number),
        };
        let from = at.saturating_mul(ITEMS) as usize;
        let of_it = from..from.saturating_add(ITEMS as usize);
        MatrixJob {
            part,
            name: format!("matrix-{number}"),
            device: case.device,
            items: part.items.get(of_it.clone()).unwrap_or_default(),
            answers: part.answers.get(of_it).unwrap_or_default(),
        }
    }
}

impl Part {
    const fn empty(kind: Kind) -> Self {
        Self {
            kind,
            component: PathBuf::new(),
            items: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Executes all items in this machine's own sandbox, in shards of the same size.
    fn executed(kind: Kind, component: PathBuf, items: Vec<String>) -> Result<Self> {
        let mut part = Self {
            component,
            items,
            ..Self::empty(kind)
        };
        let scratch = tempfile::tempdir()?;
        let whole = MatrixJob {
            part: &part,
            name: "matrix-reference".into(),
            device: "any",
            items: &part.items,
            answers: &[],
        };
        let plain = Settings {
            policy: Policy::Replicate,
            honest: 0,
            jobs: 1,
            openings: false,
        };
        let manifest = whole.write(scratch.path(), plain)?;
        let result = scratch.path().join(kind.result());
        let out = result.to_string_lossy();
        let manifest = manifest.to_string_lossy();
        assay(&["job", "run", "--local", &manifest, "--out", &out])?.ok()?;
        let answers = kind.split(&fs::read(&result)?)?;
        ensure!(
            answers.len() == part.items.len(),
            "{} answers to {} items",
            answers.len(),
            part.items.len()
        );
        part.answers = answers;
        Ok(part)
    }
}

impl Kind {
    const fn result(self) -> &'static str {
        match self {
            Self::Generate => "result.jsonl",
            Self::Embed => "result.npy",
        }
    }

    fn split(self, result: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(match self {
            Self::Generate => {
                let lines = std::str::from_utf8(result)?.lines();
                lines.map(|line| line.as_bytes().to_vec()).collect()
            }
            Self::Embed => {
                let rows = jobs::npy::split_rows(result)?;
                rows.into_iter().map(|row| row.to_vec()).collect()
            }
        })
    }

    fn is_right(self, given: &[u8], honest: &[u8]) -> bool {
        if self == Self::Generate || given.len() != honest.len() {
            return given == honest;
        }
        let floats = |bytes: &[u8]| -> Vec<f32> {
            let chunks = bytes.as_chunks::<4>().0.iter();
            chunks.map(|chunk| f32::from_le_bytes(*chunk)).collect()
        };
        let (absolute, relative) = TOLERANCE;
        let mut pairs = floats(given).into_iter().zip(floats(honest));
        pairs.all(|(a, b)| (a - b).abs() <= absolute + relative * b.abs())
    }

    fn model(self) -> Result<String> {
        let (name, path) = match self {
            Self::Generate => ("tinylm", tinylm()),
            Self::Embed => {
                let home = std::env::var_os("ASSAY_HOME").map(PathBuf::from);
                let cache = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/assay"));
                let home = home
                    .or_else(cache)
                    .context("neither ASSAY_HOME nor HOME is set")?;
                ("minilm", home.join("models/all-minilm-l6-v2-int8.onnx"))
            }
        };
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        let digest = Digest::of(&bytes);
        Ok(format!(
            "[[model]]\nname = \"{name}\"\nsource = {path:?}\ndigest = \"{digest}\"\n"
        ))
    }

    const fn openings(self) -> &'static str {
        match self {
            Self::Generate => {
                "\n[verify.openings]\ngraph = \"tinylm\"\ntensor = \"logits\"\ncount = 16\natol = 1e-3\nrtol = 0.0\n"
            }
            Self::Embed => {
                "\n[verify.openings]\ngraph = \"minilm\"\ntensor = \"last_hidden_state\"\ncount = 16\natol = 1e-3\nrtol = 0.0\n"
            }
        }
    }

    const fn format(self) -> (&'static str, &'static str) {
        match self {
            Self::Generate => ("format = \"jsonl\"\n", "comparator = \"exact\"\n"),
            Self::Embed => (
                "format = \"npy\"\ndtype = \"f32\"\nshape = [384]\n",
                "comparator = \"numeric\"\ndtype = \"f32\"\natol = 1e-4\nrtol = 1e-3\nmin_cosine = 0.999\n",
            ),
        }
    }
}

impl MatrixJob<'_> {
    /// Writes manifest and input; returns the manifest's path.
    pub(super) fn write(&self, folder: &Path, settings: Settings) -> Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let Self { name, device, .. } = self;
        let (kind, component) = (self.part.kind, &self.part.component);
        fs::write(
            folder.join(format!("{name}.txt")),
            self.items.join("\n") + "\n",
        )?;
        let (model, (format, comparator)) = (kind.model()?, kind.format());
        let text = format!(
            "schema = 1\nname = \"{name}\"\ncomponent = {component:?}\n\n{model}\n\
             [input]\npath = \"{name}.txt\"\nsplit = \"lines\"\nitems_per_shard = {ITEMS_PER_SHARD}\n\n\
             [output]\n{format}\n\
             [verify]\n{}{comparator}{}\n\
             [limits]\nfuel = 4000000000\nmemory_bytes = 67108864\noutput_bytes_per_item = 4096\n\
             wall_ms = 20000\n\n\
             [price]\nmax = \"1.00\"\n\n\
             [schedule]\ndeadline_ms = 600000\ndevice = \"{device}\"\n",
            settings.policy.lines(),
            if settings.openings {
                kind.openings()
            } else {
                ""
            },
        );
        let manifest = folder.join(format!("{name}.toml"));
        fs::write(&manifest, text)?;
        Ok(manifest)
    }

    /// How many of the items in a fetched result are not what an honest execution gives.
    pub(super) fn wrong(&self, fetched: &Path) -> Result<u32> {
        let kind = self.part.kind;
        let path = fetched.join(kind.result());
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        let given = kind.split(&bytes)?;
        ensure!(given.len() == self.answers.len(), "{} items", given.len());
        let pairs = given.iter().zip(self.answers);
        let wrong = pairs.filter(|(given, honest)| !kind.is_right(given, honest));
        Ok(u32::try_from(wrong.count())?)
    }
}
