//! Which crate may see which: the table of ARCHITECTURE.md.

use std::path::Path;

use serde_json::{Value, json};

use super::repo;

/// One crate's row.
struct Row {
    name: &'static str,
    /// Where it lives; the last part is its name.
    folder: &'static str,
    /// Our crates that it may depend on, tests included.
    ours: Ours,
    /// Packages it must not depend on directly.
    never: &'static [&'static str],
    /// Packages that must not be in its build at all, however they would get there.
    never_at_all: &'static [&'static str],
}

enum Ours {
    All,
    Only(&'static [&'static str]),
}

/// Reading order: from what knows least to what knows all. `jobs` must not use tokio; that sigstore
/// links its types is a known blemish (ARCHITECTURE.md), hence the direct column.
const TABLE: [Row; 15] = [
    Row {
        name: "jobs",
        folder: "jobs",
        ours: Ours::Only(&[]),
        never: &["tokio", "futures", "anyhow", "getrandom"],
        never_at_all: &["libp2p", "wasmtime", "rocksdb", "ort"],
    },
    Row {
        // Only numbers and bytes: it could judge anybody's work.
        name: "policy",
        folder: "aggregator/policy",
        ours: Ours::Only(&[]),
        never: &["tokio", "futures", "anyhow", "getrandom", "rand"],
        never_at_all: &["tokio", "libp2p", "wasmtime", "rocksdb", "ort"],
    },
    Row {
        name: "guest-sdk",
        folder: "guest-sdk",
        ours: Ours::Only(&[]),
        never: &["anyhow"],
        never_at_all: &["tokio", "libp2p", "wasmtime", "rocksdb", "ort"],
    },
    Row {
        name: "host-gpu",
        folder: "host-gpu",
        ours: Ours::Only(&[]),
        never: &["anyhow"],
        never_at_all: &["libp2p", "rocksdb"],
    },
    Row {
        name: "network",
        folder: "network",
        ours: Ours::Only(&["jobs"]),
        never: &["anyhow"],
        never_at_all: &["wasmtime", "rocksdb", "ort"],
    },
    Row {
        name: "store",
        folder: "aggregator/store",
        ours: Ours::Only(&["jobs"]),
        never: &["anyhow", "tokio"],
        never_at_all: &["libp2p", "wasmtime", "ort"],
    },
    Row {
        name: "api",
        folder: "aggregator/api",
        ours: Ours::Only(&["jobs"]),
        never: &["anyhow"],
        never_at_all: &["libp2p", "wasmtime", "rocksdb", "ort"],
    },
    Row {
        name: "ledger",
        folder: "aggregator/ledger",
        ours: Ours::Only(&["jobs", "store"]),
        never: &[
            "anyhow",
            "tokio",
            "chrono",
            "time",
            "futures",
            "rand",
            "getrandom",
        ],
        never_at_all: &["libp2p", "wasmtime", "ort"],
    },
    Row {
        name: "runtime",
        folder: "runtime",
        ours: Ours::Only(&["jobs", "host-gpu"]),
        never: &["anyhow", "ort"],
        never_at_all: &["libp2p", "rocksdb"],
    },
    Row {
        name: "provider",
        folder: "runtime/provider",
        ours: Ours::Only(&["jobs", "network", "runtime"]),
        never: &["anyhow", "libp2p", "ort"],
        never_at_all: &["rocksdb"],
    },
    Row {
        name: "aggregator",
        folder: "aggregator",
        ours: Ours::Only(&["jobs", "network", "store", "ledger", "policy", "api"]),
        never: &["anyhow", "libp2p", "rocksdb"],
        never_at_all: &["wasmtime", "ort", "runtime", "host-gpu"],
    },
    Row {
        name: "cli",
        folder: "cli",
        ours: Ours::All,
        never: &["libp2p", "rocksdb", "ort"],
        never_at_all: &[],
    },
    Row {
        name: "tests",
        folder: "tests",
        ours: Ours::All,
        never: &["libp2p", "rocksdb", "ort"],
        never_at_all: &[],
    },
    Row {
        // Bare wasmtime and bare ort are what it measures against.
        name: "benches",
        folder: "benches",
        ours: Ours::All,
        never: &["libp2p", "rocksdb"],
        never_at_all: &["libp2p", "rocksdb"],
    },
    Row {
        name: "xtask",
        folder: "xtask",
        ours: Ours::All,
        never: &[],
        never_at_all: &["tokio", "wasmtime"],
    },
];

/// The one crate that is meant for others to depend on.
const PUBLISHED: &str = "guest-sdk";

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Direct dependencies against the table. A dev-dependency on one of our crates is an edge like any
/// other; one on somebody else's is the tests' own business.
fn forbidden_edges(packages: &[Value]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let name = text(package, "name");
        let Some(row) = TABLE.iter().find(|r| r.name == name) else {
            findings.push(format!("{name} has no row in the import table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = text(dependency, "name");
            let allowed = if dependency["path"].is_string() {
                matches!(row.ours, Ours::All)
                    || matches!(row.ours, Ours::Only(o) if o.contains(&to))
            } else {
                text(dependency, "kind") == "dev"
                    || !(row.never.contains(&to) || row.never_at_all.contains(&to))
            };
            if !allowed {
                findings.push(format!("{name} must not depend on {to}"));
            }
        }
    }
    for row in TABLE
        .iter()
        .filter(|r| !packages.iter().any(|p| text(p, "name") == r.name))
    {
        findings.push(format!(
            "{} is in the import table but not in the workspace",
            row.name
        ));
    }
    findings
}

/// Names from `cargo tree --prefix none` that the row bans.
fn forbidden_in_build(row: &Row, tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|l| l.split_whitespace().next());
    let banned = names.filter(|n| row.never_at_all.contains(n));
    banned
        .map(|n| format!("{n} is in the build of {}", row.name))
        .collect()
}

fn misplaced(packages: &[Value]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let (name, manifest) = (text(package, "name"), text(package, "manifest_path"));
        let folder = Path::new(manifest).parent().unwrap();
        if folder.file_name().is_none_or(|f| f != name) {
            findings.push(format!("{name} lives in {}", folder.display()));
        }
        if let Some(row) = TABLE.iter().find(|r| r.name == name)
            && !folder.ends_with(row.folder)
        {
            findings.push(format!("{name} is not in {}", row.folder));
        }
        // An empty list of registries is how cargo says `publish = false`.
        if name != PUBLISHED && package["publish"] != json!([]) {
            findings.push(format!("{name} can be published"));
        }
    }
    findings
}

fn without_workspace_lints(manifest: &repo::TextFile) -> Option<String> {
    let parsed: toml::Table = manifest.text.parse().unwrap();
    let lints = parsed
        .get("lints")
        .and_then(|l| l.get("workspace"))
        .and_then(|w| w.as_bool());
    (lints != Some(true)).then(|| format!("{} does not take the workspace's lints", manifest.path))
}

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    assert_eq!(forbidden_edges(&repo::packages()), Vec::<String>::new());
}

#[test]
fn what_a_crate_must_never_see_is_not_in_its_build() {
    let mut findings = Vec::new();
    for row in TABLE.iter().filter(|r| !r.never_at_all.is_empty()) {
        let tree = repo::cargo(&[
            "tree",
            "-p",
            row.name,
            "-e",
            "normal,build",
            "--prefix",
            "none",
        ]);
        assert!(tree.lines().count() > 1, "an empty tree for {}", row.name);
        findings.extend(forbidden_in_build(row, &tree));
    }
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn crates_are_named_after_their_folder_and_only_the_sdk_is_published() {
    assert_eq!(misplaced(&repo::packages()), Vec::<String>::new());
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let manifests = TABLE
        .iter()
        .map(|r| repo::file(&format!("{}/Cargo.toml", r.folder)));
    let findings: Vec<String> = manifests
        .filter_map(|m| without_workspace_lints(&m))
        .collect();
    assert_eq!(findings, Vec::<String>::new());
}

/// A workspace that obeys the table, to be spoilt.
fn obedient() -> Vec<Value> {
    let package = |r: &Row| {
        json!({"name": r.name, "manifest_path": format!("/w/{}/Cargo.toml", r.folder), "publish": [],
               "dependencies": []})
    };
    TABLE.iter().map(package).collect()
}

#[test]
fn the_import_rule_can_fail() {
    let row = |name: &str| TABLE.iter().position(|r| r.name == name).unwrap();
    assert_eq!(forbidden_edges(&obedient()), Vec::<String>::new());
    for (from, to, path, kind, findings) in [
        ("aggregator", "runtime", json!("/w/runtime"), json!(null), 1),
        (
            "network",
            "store",
            json!("/w/aggregator/store"),
            json!("dev"),
            1,
        ),
        ("jobs", "tokio", json!(null), json!(null), 1),
        ("ledger", "libp2p", json!(null), json!("build"), 1),
        ("ledger", "tokio", json!(null), json!("dev"), 0),
        ("provider", "runtime", json!("/w/runtime"), json!(null), 0),
        ("cli", "aggregator", json!("/w/aggregator"), json!(null), 0),
    ] {
        let mut packages = obedient();
        packages[row(from)]["dependencies"] = json!([{"name": to, "path": path, "kind": kind}]);
        assert_eq!(forbidden_edges(&packages).len(), findings, "{from} -> {to}");
    }
    let mut stranger = obedient();
    stranger[0]["name"] = json!("utils");
    assert_eq!(
        forbidden_edges(&stranger).len(),
        2,
        "one row too many, one too few"
    );
    let tree = "aggregator v0.1.0 (/w/aggregator)\nstore v0.1.0\nwasmtime v48.0.8\n";
    assert_eq!(forbidden_in_build(&TABLE[row("aggregator")], tree).len(), 1);
}

#[test]
fn the_placement_and_lint_rules_can_fail() {
    let mut packages = obedient();
    packages[0]["manifest_path"] = json!("/w/work/Cargo.toml");
    packages[1]["publish"] = json!(null);
    packages[2]["publish"] = json!(null);
    assert_eq!(
        misplaced(&packages).len(),
        3,
        "a wrong folder counts twice, the SDK may be published"
    );
    for (text, bad) in [
        ("[lints]\nworkspace = true", false),
        ("[package]\nname = 'x'", true),
    ] {
        assert_eq!(
            without_workspace_lints(&repo::TextFile::new("x/Cargo.toml", text)).is_some(),
            bad
        );
    }
}
