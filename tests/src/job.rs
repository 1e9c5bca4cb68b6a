//! A small job over the echo component: every line comes back in upper case.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use jobs::digest::BlobRef;
use jobs::envelope::{ClientKey, SignedPackage};
use jobs::ids::JobId;
use jobs::manifest::{Manifest, Resolved};
use jobs::package::InputRef;
use jobs::{input, items};

use crate::echo_component;

/// What a test varies. Everything else is fixed.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name; also makes its input another one.
    pub name: String,
    /// Lines.
    pub items: u32,
    /// Bytes of a line, at least.
    pub item_bytes: usize,
    /// Lines in a shard.
    pub items_per_shard: u32,
    /// Executions of each shard.
    pub replicas: u8,
    /// What an audit executes again, if answers are audited instead of repeated.
    pub audit: Option<&'static str>,
    /// Most executions of a shard that disagrees.
    pub max_replicas: u8,
    /// Wall-clock limit of a shard in milliseconds.
    pub wall_ms: u64,
    /// Deadline in milliseconds.
    pub deadline_ms: u64,
    /// Price ceiling in units.
    pub price: String,
    /// Required device.
    pub device: String,
    /// The component; echo's if there is none.
    pub component: Option<PathBuf>,
    /// A model that the guest never loads.
    pub model: Option<Vec<u8>>,
    /// Lines added to the manifest, to make it wrong.
    pub extra: String,
}

/// A job signed by hand, with the blobs it names.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its id.
    pub id: JobId,
    /// What is submitted.
    pub package: SignedPackage,
    /// What is uploaded.
    pub blobs: Vec<(BlobRef, Vec<u8>)>,
}

impl Job {
    /// A job of eight lines in four shards.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            items: 8,
            item_bytes: 64,
            items_per_shard: 2,
            replicas: 2,
            audit: None,
            max_replicas: 5,
            wall_ms: 10_000,
            deadline_ms: 120_000,
            price: "1.00".into(),
            device: "any".into(),
            component: None,
            model: None,
            extra: String::new(),
        }
    }

    /// Shards of the plan.
    pub const fn shards(&self) -> u32 {
        self.items.div_ceil(self.items_per_shard)
    }

    /// Writes manifest and input into `folder`; returns the manifest's path.
    ///
    /// # Errors
    /// If the component cannot be built or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let component = match &self.component {
            Some(component) => component.clone(),
            None => echo_component()?,
        };
        fs::create_dir_all(folder)?;
        fs::write(
            folder.join(format!("{}.txt", self.name)),
            self.lines().join("\n") + "\n",
        )?;
        if let Some(model) = &self.model {
            fs::write(folder.join(format!("{}.onnx", self.name)), model)?;
        }
        let manifest = folder.join(format!("{}.toml", self.name));
        fs::write(&manifest, self.manifest(&component))?;
        Ok(manifest)
    }

    /// The lines of its input.
    pub fn lines(&self) -> Vec<String> {
        let line = |index| {
            let text = format!("line {index} of {}; ", self.name);
            text.repeat(self.item_bytes.div_ceil(text.len()))
        };
        (0..self.items).map(line).collect()
    }

    /// Requires that `result` holds every line in upper case, in order.
    ///
    /// # Errors
    /// If it does not.
    pub fn check_result(&self, result: &Path) -> Result<()> {
        let bytes = fs::read(result).with_context(|| result.display().to_string())?;
        let outputs = items::decode(&bytes)?;
        let expected: Vec<String> = self
            .lines()
            .iter()
            .map(|line| line.to_uppercase())
            .collect();
        ensure!(
            outputs.len() == expected.len(),
            "{} outputs, not {}",
            outputs.len(),
            expected.len()
        );
        for (output, line) in outputs.iter().zip(&expected) {
            ensure!(
                *output == line.as_bytes(),
                "{:?} is not {line:?}",
                String::from_utf8_lossy(output)
            );
        }
        Ok(())
    }

    /// Packs and signs without the program under test, and so without its checks.
    ///
    /// # Errors
    /// If the component cannot be built or the manifest is out of bounds.
    pub fn sign(&self, key: &ClientKey, component: &[u8]) -> Result<Signed> {
        let manifest = Manifest::parse(&self.manifest(Path::new("echo.component.wasm")))?;
        let text = self.lines().join("\n");
        let (input, encoded) = InputRef::of(&input::split_lines(text.as_bytes())?)?;
        let component = (BlobRef::of(component), component.to_vec());
        let input_blob = input.blob;
        // Two jobs of one test differ in their names, so the nonce need not.
        let mut resolved = Resolved {
            component: component.0,
            models: Vec::new(),
            input,
            nonce: [7; 16],
        };
        let mut blobs = vec![component, (input_blob, encoded)];
        if let Some(model) = &self.model {
            let blob = BlobRef::of(model);
            resolved.models.push(blob);
            blobs.push((blob, model.clone()));
        }
        let package = manifest.lock(resolved)?;
        Ok(Signed {
            id: package.id()?,
            package: key.sign_package(&package)?,
            blobs,
        })
    }

    fn manifest(&self, component: &Path) -> String {
        let Self {
            name,
            items_per_shard,
            replicas,
            max_replicas,
            ..
        } = self;
        let Self {
            wall_ms,
            deadline_ms,
            price,
            device,
            extra,
            ..
        } = self;
        let model = self.model.as_ref().map(|model| {
            let digest = BlobRef::of(model).digest;
            format!("[[model]]\nname = \"m\"\nsource = \"{name}.onnx\"\ndigest = \"{digest}\"\n")
        });
        let model = model.unwrap_or_default();
        let audit = self
            .audit
            .map(|unit| format!("policy = \"audit\"\nunit = {unit:?}\n"));
        let audit = audit.unwrap_or_default();
        let output_bytes = self.item_bytes.saturating_add(1024).saturating_mul(2);
        format!(
            "schema = 1\nname = {name:?}\ncomponent = {component:?}\n{extra}\n{model}\
             [input]\npath = \"{name}.txt\"\nsplit = \"lines\"\nitems_per_shard = {items_per_shard}\n\
             [output]\nformat = \"items\"\n\
             [verify]\n{audit}replicas = {replicas}\nmax_replicas = {max_replicas}\ncomparator = \"exact\"\n\
             [limits]\nfuel = 4000000000\nmemory_bytes = 67108864\n\
             output_bytes_per_item = {output_bytes}\nwall_ms = {wall_ms}\n\
             [price]\nmax = {price:?}\n\
             [schedule]\ndeadline_ms = {deadline_ms}\ndevice = {device:?}\n"
        )
    }
}
