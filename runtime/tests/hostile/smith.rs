//! Random modules in jobs: what the check accepts the engine compiles, running it harms nobody, and two
//! fresh sandboxes agree on every byte and every unit of fuel.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use jobs::package::Limits;
use runtime::{Backend, FailureKind, LocalBlob, Sandbox, SandboxConfig, ShardTask};
use wasm_smith::{Component, Config, Module};
use wasmparser::{ExternalKind, Parser, Payload, ValType};

use crate::corpus::{block_on, number};
use crate::dice::Dice;
use crate::guests::{by_hand, echo};
use crate::harness::Case;
use crate::shape::section;

pub(crate) const CASES: &[Case] = &[
    (
        "random_modules_run_alike_in_two_fresh_sandboxes",
        random_modules_run_alike_in_two_fresh_sandboxes,
    ),
    (
        "random_components_are_refused_and_broken_jobs_are_refused_or_run_alike",
        random_components_are_refused_and_broken_jobs_are_refused_or_run_alike,
    ),
];

/// Seeds that are tried unless the environment says how many.
const SEEDS: u64 = 60;

/// Most exports of a module that are called.
const CALLS_MAX: usize = 8;

/// Bytes that a generator draws from.
const DRAWN: usize = 4096;

/// A core module with nothing in it.
const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

/// The bytes that a seed stands for.
fn drawn(seed: u64) -> Vec<u8> {
    Dice::new(seed).bytes(DRAWN)
}

/// One module in so many may hold references, most of which are to things of the host, which no job may
/// hold: those are refused.
const REFERENCES_EVERY: u64 = 4;

/// Modules of what jobs may use, which import nothing and export everything.
fn config(references: bool) -> Config {
    Config {
        max_imports: 0,
        export_everything: true,
        min_funcs: 1,
        max_funcs: 12,
        max_instructions: 200,
        max_memories: 1,
        max_memory32_bytes: 8 << 20,
        max_table_elements: 1000,
        memory64_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        reference_types_enabled: references,
        relaxed_simd_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        multi_value_enabled: true,
        simd_enabled: true,
        tail_call_enabled: true,
        ..Config::default()
    }
}

fn module(seed: u64) -> Option<Vec<u8>> {
    let bytes = drawn(seed);
    let mut source = arbitrary::Unstructured::new(&bytes);
    Some(
        Module::new(config(seed.is_multiple_of(REFERENCES_EVERY)), &mut source)
            .ok()?
            .to_bytes(),
    )
}

/// An exported function and its type, if numbers are all that it takes and gives.
struct Export {
    name: String,
    params: Vec<ValType>,
    results: Vec<ValType>,
}

fn exports(module: &[u8]) -> Vec<Export> {
    let (mut types, mut functions, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::TypeSection(section) => {
                types.extend(section.into_iter_err_on_gc_types().map(Result::unwrap));
            }
            Payload::FunctionSection(section) => functions.extend(section.into_iter().flatten()),
            Payload::ExportSection(section) => {
                for export in section.into_iter().flatten() {
                    if export.kind != ExternalKind::Func {
                        continue;
                    }
                    let ty = &types[functions[export.index as usize] as usize];
                    found.push(Export {
                        name: export.name.to_owned(),
                        params: ty.params().to_vec(),
                        results: ty.results().to_vec(),
                    });
                }
            }
            _ => {}
        }
    }
    let plain = |ty: &ValType| {
        matches!(
            ty,
            ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64
        )
    };
    found.retain(|export| export.params.iter().chain(&export.results).all(plain));
    found.truncate(CALLS_MAX);
    found
}

/// The module's functions under names of ours, as exports of an instance.
fn named(module: &[u8]) -> String {
    exports(module)
        .iter()
        .enumerate()
        .map(|(at, export)| {
            let name: String = export
                .name
                .bytes()
                .map(|byte| format!("\\{byte:02x}"))
                .collect();
            format!("(export \"f{at}\" (func $s \"{name}\"))")
        })
        .collect()
}

/// A job that calls the module's functions with numbers of this seed and answers each item with what
/// they gave, folded into eight bytes.
fn job(module: &[u8], seed: u64) -> Vec<u8> {
    let (mut imports, mut calls) = (String::new(), String::new());
    for (at, export) in exports(module).iter().enumerate() {
        let types = |types: &[ValType]| types.iter().map(|ty| format!("{ty} ")).collect::<String>();
        let (params, results) = (types(&export.params), types(&export.results));
        let name = export.name.escape_default();
        _ = writeln!(
            imports,
            "(import \"smith\" \"f{at}\" (func $f{at} (param {params}) (result {results}))) ;; {name}"
        );
        let numbers: String = export
            .params
            .iter()
            .enumerate()
            .map(|(place, ty)| format!("({ty}.const {}) ", (seed >> place & 0xff) as u8))
            .collect();
        _ = write!(calls, "(call $f{at} {numbers})");
        for ty in export.results.iter().rev() {
            calls.push_str(match ty {
                ValType::I32 => " i64.extend_i32_u",
                ValType::F32 => " i32.reinterpret_f32 i64.extend_i32_u",
                ValType::F64 => " i64.reinterpret_f64",
                _ => "",
            });
            calls.push_str(" call $fold\n");
        }
    }
    let named = named(module);
    let around = by_hand(&format!(
        r#"(core module)
  (core instance $s (instantiate 0))
  (core instance $named {named})
  (core module $main
    {imports}
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 65536))
    (global $sum (mut i64) (i64.const 0))
    (func $fold (param i64)
      (global.set $sum (i64.xor (i64.rotl (global.get $sum) (i64.const 7)) (local.get 0))))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $top)
      (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7))
        (i32.const -8))))
    (func (export "run") (param i32 i32) (result i32)
      {calls}
      (i64.store (i32.const 2048) (global.get $sum))
      (i32.store (i32.const 3072) (i32.const 2048)) (i32.store (i32.const 3076) (i32.const 8))
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store (i32.const 1028) (i32.const 3072)) (i32.store (i32.const 1032) (i32.const 1))
      (i32.const 1024)))
  (core instance $main (instantiate $main (with "smith" (instance $named))))"#
    ));
    // Text has no place for a module in bytes: it takes that of the empty one.
    let hole = [&section(1, EMPTY.len())[..], EMPTY].concat();
    let at = around
        .windows(hole.len())
        .position(|bytes| bytes == hole)
        .unwrap();
    let (before, after) = (&around[..at], &around[at + hole.len()..]);
    [before, &section(1, module.len()), module, after].concat()
}

/// What one fresh sandbox makes of a component: outputs and fuel, or the failure and its fuel.
fn outcome(component: &[u8]) -> Result<(Vec<u8>, u64), (FailureKind, u64)> {
    let dir = tempfile::tempdir().unwrap();
    let mut config = SandboxConfig::new(dir.path().join("cache"));
    config.backend = Backend::None;
    let sandbox = Sandbox::new(&config).unwrap();
    let blob = BlobRef::of(component);
    let path = dir.path().join("component");
    std::fs::write(&path, component).unwrap();
    let task = ShardTask {
        job: JobId(Digest::of(b"smith")),
        shard: 0,
        first_item: 0,
        component: LocalBlob { path, blob },
        models: Vec::new(),
        device: DeviceKind::Cpu,
        cpu_nodes: false,
        noting: None,
        limits: Limits {
            fuel: 5_000_000,
            memory_bytes: 16 << 20,
            output_bytes_per_item: 1 << 20,
            wall_ms: 600_000,
        },
    };
    let items = jobs::items::encode(&["one"]).unwrap();
    match block_on(sandbox.execute(&task, &items)) {
        Ok(done) => Ok((done.outputs, done.outcome.meters.fuel)),
        Err(failure) => Err((failure.kind, failure.fuel)),
    }
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("ASSAY_SMITH_FIRST").unwrap_or(1);
    first..first + number("ASSAY_SMITH_SEEDS").unwrap_or(SEEDS)
}

/// How the jobs of one kind ended.
#[derive(Debug, Default)]
struct Ends {
    refused: u64,
    answered: u64,
    stopped: u64,
}

impl Ends {
    /// Gives a component to two fresh sandboxes: they agree with one another, and with the check on
    /// whether it is a job.
    fn book(&mut self, component: &[u8]) {
        let accepted = jobs::component::check(component);
        let first = outcome(component);
        let refused = match &first {
            // The check leaves the names of an error's cases to the engine.
            Err((FailureKind::Component { reason }, _)) => {
                accepted.is_err() || reason.contains("type-checking export func `run`")
            }
            _ => false,
        };
        assert!(refused || accepted.is_ok(), "{accepted:?}, but {first:?}");
        assert_eq!(first, outcome(component));
        let end = match first {
            Ok(_) => &mut self.answered,
            Err(_) if refused => &mut self.refused,
            Err(_) => &mut self.stopped,
        };
        *end += 1;
    }
}

/// Does this for every seed, and names the one that fails.
fn each_seed(mut book: impl FnMut(u64)) {
    for seed in seeds() {
        let tried = catch_unwind(AssertUnwindSafe(|| book(seed)));
        assert!(
            tried.is_ok(),
            "seed {seed}: run again with ASSAY_SMITH_FIRST={seed} ASSAY_SMITH_SEEDS=1"
        );
    }
}

/// Too few seeds to find every end among them.
fn are_few() -> bool {
    seeds().count() < SEEDS as usize
}

fn random_modules_run_alike_in_two_fresh_sandboxes() {
    let (mut ends, mut called) = (Ends::default(), 0);
    each_seed(|seed| {
        if let Some(module) = module(seed) {
            ends.book(&job(&module, seed));
            called += exports(&module).len();
        }
    });
    println!("smith: seeds {:?}, {ends:?}, {called} functions", seeds());
    let run = ends.answered + ends.stopped;
    assert!(
        are_few() || (ends.answered > 0 && ends.stopped > 0 && run > ends.refused && called > 0)
    );
}

/// A job with some of its bytes changed.
fn broken(seed: u64) -> Vec<u8> {
    let mut bytes = echo();
    for draw in drawn(seed).chunks_exact(8).take(1 + (seed % 3) as usize) {
        let at = u32::from_le_bytes([draw[0], draw[1], draw[2], 0]) as usize % bytes.len();
        bytes[at] = draw[4];
    }
    bytes
}

/// A random component is none that exports `run`, so it is the check that is tried with them; what is
/// left of a job whose bytes were changed is run, if it is still one.
fn random_components_are_refused_and_broken_jobs_are_refused_or_run_alike() {
    let (mut random, mut changed) = (0, Ends::default());
    each_seed(|seed| {
        let bytes = drawn(seed);
        let made = Component::new(Config::default(), &mut arbitrary::Unstructured::new(&bytes));
        if let Ok(component) = made {
            let refused = jobs::component::check(&component.to_bytes());
            assert!(refused.is_err(), "a random component is a job: {refused:?}");
            random += 1;
        }
        changed.book(&broken(seed));
        changed.book(&broken(seed + (1 << 32)));
    });
    println!(
        "smith: seeds {:?}, {random} random components refused; broken jobs: {changed:?}",
        seeds()
    );
    assert!(are_few() || (random > 0 && changed.refused > 0 && changed.answered > 0));
}
