//! `assay model` through the real binary, on the small language model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{assay, repository};

fn tinylm() -> String {
    let path = repository().join("host-gpu/tests/data/tinylm.onnx");
    path.to_string_lossy().into_owned()
}

/// A folder with a key in it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Result<Self> {
        let desk = Self(tempfile::tempdir()?);
        assay(&["key", "new", "--out", &desk.at("key")])?.ok()?;
        Ok(desk)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Calibrates on these samples; gives what it printed and wrote.
    fn calibrate(&self, out: &str, more: &[&str]) -> Result<Value> {
        let (model, key, out) = (tinylm(), self.at("key"), self.at(out));
        let mut arguments = vec!["--json", "model", "calibrate", &model, "--last-position"];
        arguments.extend(["--out", &out, "--key", &key]);
        arguments.extend(more);
        assay(&arguments)?.ok()?.json()
    }
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|one| one["name"].as_str()).collect()
}

#[test]
fn a_calibration_finds_cheap_models_and_leaves_a_signed_profile() -> Result<()> {
    let desk = Desk::new()?;
    let said = desk.calibrate("p.json", &["--random", "12", "--length", "12"])?;
    let ways = [
        "as jobs run",
        "optimisation off",
        "optimisation basic",
        "optimisation extended",
        "2 threads",
        "4 threads",
        "batch of 8",
        "batch of 32",
    ];
    let measured = names(&said["variants"]);
    assert_eq!(measured.get(..ways.len()), Some(&ways[..]), "{said}");
    for (cheat, verdict) in [
        ("fp16 weights", "detected"),
        ("int8 weights", "detected"),
        ("int4 weights", "detected"),
        ("skipped layer", "detected"),
        ("tampered logit", "detected"),
        ("within the tolerance", "not-detected"),
    ] {
        let cheats = said["cheats"].as_array().context("no cheats")?;
        let found = cheats.iter().find(|found| found["name"] == cheat);
        assert_eq!(found.context(cheat)?["verdict"], verdict, "{cheat}: {said}");
    }
    let classes: std::collections::BTreeSet<String> = said["variants"]
        .as_array()
        .context("no variants")?
        .iter()
        .map(|variant| variant["fingerprint"]["options"].to_string())
        .collect();
    assert!(classes.len() >= 6, "options make classes: {classes:?}");

    let checked = assay(&["--json", "model", "profile", "verify", &desk.at("p.json")])?;
    let checked = checked.ok()?.json()?;
    assert_eq!(checked["profile"], said);
    // What jobs run is what a provider of this machine offers.
    let offered = assay(&["--json", "provider", "probe"])?.ok()?.json()?;
    let class = &offered["devices"][0]["fingerprint"];
    assert_eq!(&said["variants"][0]["fingerprint"], class);

    let text = std::fs::read_to_string(desk.path("p.json"))?;
    let rtol = said["tolerance"]["rtol"].to_string();
    let tampered = text.replacen(&format!("\"rtol\": {rtol}"), "\"rtol\": 0.5", 1);
    assert_ne!(tampered, text);
    std::fs::write(desk.path("t.json"), tampered)?;
    let verify = ["model", "profile", "verify", &desk.at("t.json")];
    assay(&verify)?.refused(4, "signed content has digest")?;
    Ok(())
}

#[test]
fn a_rival_and_samples_of_ones_own_are_measured_and_what_does_not_fit_is_named() -> Result<()> {
    let desk = Desk::new()?;
    let lines = "{\"input_ids\": [65, 66, 67]}\n{\"input_ids\": [72, 105]}\n";
    std::fs::write(desk.path("s.jsonl"), lines)?;
    let (samples, model) = (desk.at("s.jsonl"), tinylm());
    let said = desk.calibrate("p.json", &["--inputs", &samples, "--rival", &model])?;
    let cheats = said["cheats"].as_array().context("no cheats")?;
    // The same model is no worse than itself.
    let rival = cheats.iter().find(|cheat| {
        let name = cheat["name"].as_str().unwrap_or_default();
        name.starts_with("rival")
    });
    assert_eq!(rival.context("no rival")?["verdict"], "not-detected");
    assert_eq!(said["subject"]["samples"], 2);

    std::fs::write(desk.path("bad.jsonl"), "{\"input_ids\": [1.5]}\n")?;
    std::fs::write(desk.path("text.onnx"), "text")?;
    let (bad, text) = (desk.at("bad.jsonl"), desk.at("text.onnx"));
    let embed = repository().join("host-gpu/tests/data/double.onnx");
    let embed = embed.to_string_lossy();
    let whole = repository().join("host-gpu/tests/data/identity_i64.onnx");
    let whole = whole.to_string_lossy();
    for (arguments, code, expected) in [
        (
            vec![&*model, "--inputs", &bad],
            2,
            "bad.jsonl line 1: input \"input_ids\": 1.5 is no i64",
        ),
        (
            vec![&*model, "--random", "2", "--output", "tokens"],
            2,
            "no output \"tokens\"",
        ),
        (
            vec![&*model, "--random", "2", "--rival", &*embed],
            2,
            "has no output \"logits\"",
        ),
        (vec![&*model, "--random", "0"], 2, "there are no samples"),
        (vec![&*model, "--random", "2", "--fpr", "0"], 2, "fpr = 0"),
        (
            vec![&*model, "--random", "2", "--emulate", "a b"],
            2,
            "no name of a processor",
        ),
        (vec![&*whole, "--random", "2"], 2, "no output of floats"),
        (vec![&*text, "--random", "2"], 2, "no protobuf message"),
        (vec![&*model], 2, "--inputs"),
    ] {
        let mut all = vec!["model", "calibrate"];
        all.extend(arguments);
        assay(&all)?.refused(code, expected)?;
    }
    Ok(())
}

/// The embed example's manifest, with a comparator that a profile of the small model decides.
fn manifest(desk: &Desk, verify: &str) -> Result<String> {
    let model = std::fs::read(tinylm())?;
    let digest = jobs::digest::Digest::of(&model);
    let component = tests::echo_component()?;
    let text = format!(
        "schema = 1\nname = \"calibrated\"\ncomponent = {component:?}\n\n[[model]]\nname = \"tinylm\"\n\
         source = {source:?}\ndigest = \"{digest}\"\n\n[input]\npath = \"s.txt\"\nsplit = \"lines\"\n\
         items_per_shard = 1\n\n[output]\nformat = \"items\"\n\n[verify]\nreplicas = 2\n\
         max_replicas = 3\ncomparator = \"numeric\"\n{verify}\n\n[limits]\nfuel = 1000000\n\
         memory_bytes = 1048576\noutput_bytes_per_item = 64\nwall_ms = 1000\n\n[price]\n\
         max = \"1\"\n\n[schedule]\ndeadline_ms = 60000\n",
        source = tinylm(),
    );
    std::fs::write(desk.path("s.txt"), "line\n")?;
    std::fs::write(desk.path("job.toml"), text)?;
    Ok(desk.at("job.toml"))
}

#[test]
fn a_manifest_takes_its_tolerances_from_a_profile_and_may_not_loosen_them() -> Result<()> {
    let desk = Desk::new()?;
    let said = desk.calibrate("p.json", &["--random", "4"])?;
    let verified = assay(&["--json", "model", "profile", "verify", &desk.at("p.json")])?;
    let digest = verified.ok()?.json()?["digest"].clone();
    let job = manifest(&desk, "profile = \"p.json\"")?;
    let package = assay(&["--json", "job", "validate", &job])?.ok()?.json()?;
    assert_eq!(package["profile"], digest);
    assert_eq!(package["comparator"]["rtol"], said["tolerance"]["rtol"]);
    assert_eq!(package["comparator"]["dtype"], "f32");

    for (verify, code, expected) in [
        (
            "profile = \"p.json\"\nrtol = 0.1",
            2,
            "verify.rtol = 0.1: is looser than verify.profile allows",
        ),
        (
            "profile = \"missing.json\"",
            2,
            "missing.json: found neither",
        ),
        ("profile = \"s.txt\"", 2, "not a valid tolerance profile"),
    ] {
        let job = manifest(&desk, verify)?;
        assay(&["job", "validate", &job])?.refused(code, expected)?;
    }
    Ok(())
}

/// Where the emulator is there, it is another class of processor, and says what confines it less.
#[test]
fn another_processor_is_measured_where_the_emulator_is_installed() -> Result<()> {
    let desk = Desk::new()?;
    let samples = desk.path("s.jsonl");
    std::fs::write(&samples, "{\"input_ids\": [65, 66, 67]}\n")?;
    let samples = samples.to_string_lossy();
    let said = desk.calibrate("p.json", &["--inputs", &samples, "--emulate", "Nehalem"])?;
    if Path::new("/usr/bin/qemu-x86_64").exists() && cfg!(target_arch = "x86_64") {
        let variants = said["variants"].as_array().context("no variants")?;
        let found = variants
            .iter()
            .find(|one| one["name"] == "emulated Nehalem");
        let device = &found.context("not measured")?["fingerprint"]["device"];
        assert!(device.to_string().contains("sse4.2"), "{device}");
    } else {
        let skipped = said["skipped"].to_string();
        assert!(
            skipped.contains("qemu-x86_64 is not installed"),
            "{skipped}"
        );
    }
    Ok(())
}
