//! Chores: set-up, demo, tests, benchmarks, guest builds, lints.
//!
//! Two commands are all a newcomer needs, in a fresh clone on a machine with a Rust toolchain and
//! Python: `cargo xtask demo` and `cargo xtask test`. Both begin by installing what is missing.
//! This crate knows no other crate of the workspace; it only starts programs. Standard output is
//! data (whatever the last program prints there), standard error is talk.
//!
//! Start reading at [`Chore`], then [`chores`] (one function per command), then [`setup`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod chores;
mod dist;
mod gpu;
mod run;
mod setup;
mod stages;

use stages::Stages;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up, demo, tests and other chores of Assay",
    version
)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what is missing: system packages, ONNX Runtime, the models of the demo and of `examples/sniff`.
    Setup(SetupArgs),
    /// Run a signed job on one aggregator and five providers, one of which cheats.
    Demo(DemoArgs),
    /// Install what is missing, then run every test.
    Test(TestArgs),
    /// Measure: what the sandbox costs, and what checking answers costs, beside what others cost.
    #[command(subcommand)]
    Bench(BenchChore),
    /// GPU tests and benchmarks, for a machine without a network.
    #[command(subcommand)]
    Gpu(GpuChore),
    /// Build every example's component with the `assay` binary.
    Guests,
    /// Pack what others install: a stripped program, manual pages, completions and units in one archive.
    Dist(DistArgs),
    /// Build the book in docs/ (installs mdbook with cargo, some minutes, the first time).
    Book,
    /// Check formatting and run clippy, warnings denied.
    Lint,
    /// Remove build output; with `--all` also what set-up fetched (never keys or state).
    Clean(CleanArgs),
}

#[derive(Debug, clap::Args)]
struct SetupArgs {
    /// Install the CUDA build of ONNX Runtime and its libraries even where no NVIDIA device is
    /// seen.
    #[arg(long)]
    gpu: bool,
    /// Also make the Python environments that tests compare the examples against.
    #[arg(long)]
    reference: bool,
    /// Also install what tests ask the HTTP interface with: a browser (Debian's chromium) and what drives it, and
    /// schemathesis (fetches 170 MB).
    #[arg(long)]
    interface: bool,
    /// Also make the model of `examples/generate` (fetches 150 MB, writes 538 MB).
    #[arg(long)]
    generate: bool,
    /// Also build the benchmark's JavaScript and Python components (fetches 140 MB, writes 30 MB).
    #[arg(long)]
    interpreters: bool,
    /// Also install the models of `examples/ocr` (fetches 15 MB).
    #[arg(long)]
    ocr: bool,
    /// Also install what calibrations use beside the rest: an emulator of other processors (Debian's
    /// qemu-user).
    #[arg(long)]
    calibrate: bool,
}

#[derive(Debug, clap::Args)]
struct DemoArgs {
    /// Print JSON lines only; the last one is the summary.
    #[arg(long)]
    json: bool,
    /// Leave out the talk of set-up and builds unless something fails.
    #[arg(long)]
    quiet: bool,
    /// How many providers to start.
    #[arg(long, default_value_t = 5)]
    providers: u32,
    /// How many of them cheat.
    #[arg(long, default_value_t = 1)]
    cheating: u32,
    /// Anything else goes to `assay devnet demo` as it is.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// Unit tests and house rules only: no guests, no whole-system tests, no doc tests, no audit of
    /// dependencies.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Subcommand)]
enum BenchChore {
    /// Instances, inference, limits and memory against bare wasmtime, bare ONNX Runtime, Python and
    /// wasmtime's wasi-nn, in one run.
    Host(BenchArgs),
    /// Replication and residual error of every checking policy against every adversary, simulated.
    Verify(VerifyArgs),
    /// Finding the one of two providers who computed wrongly, against computing everything again: the
    /// group `dispute` of `host`, without guests and baselines.
    Dispute(BenchArgs),
    /// Every real adversary against the real binary, with real models: what it gets through, when it is caught
    /// and what it earns.
    Matrix(MatrixArgs),
    /// Floods of an aggregator's HTTP interface: what an honest client notices, what memory they take, and how soon
    /// all is as before.
    Api(BenchArgs),
}

#[derive(Debug, clap::Args)]
struct MatrixArgs {
    /// How answers are verified: replicate or audit.
    #[arg(long, default_value = "replicate")]
    policy: String,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Have replicas open values within their models to one another.
    #[arg(long)]
    openings: bool,
    /// Ten jobs an adversary: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Only these adversaries (`-- --list` names them).
    #[arg(long, value_name = "ADVERSARY")]
    only: Vec<String>,
    /// Write table and JSON into this folder, named after policy and day.
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
    /// Anything else goes to the matrix as it is.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Fewer lives and the longest horizon only: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Where the seeds begin.
    #[arg(long)]
    seed: Option<u64>,
    /// Write table, JSON and pictures into this folder.
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct BenchArgs {
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Fewer rounds: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Only these groups of rows (`host --list` names them).
    #[arg(long, value_name = "GROUP")]
    only: Vec<String>,
    /// Write table and JSON into this folder, named after the day.
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
    /// Anything else goes to the benchmark as it is.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum GpuChore {
    /// Run the GPU tests here; without a GPU they say so, and fail under ASSAY_REQUIRE_GPU=1.
    Test,
    /// Make a folder that runs the GPU tests and benchmarks on another machine, which needs a driver
    /// and nothing else.
    Bundle(BundleArgs),
}

#[derive(Debug, clap::Args)]
struct BundleArgs {
    /// The folder to make; it must not exist yet.
    #[arg(long)]
    out: PathBuf,
    /// Leave ONNX Runtime for CUDA and its libraries (2.4 GB) out: the tests then only say their skip.
    #[arg(long)]
    without_cuda: bool,
}

#[derive(Debug, clap::Args)]
struct DistArgs {
    /// Where the archive and its digest go.
    #[arg(long, default_value = "target/dist")]
    out: PathBuf,
    /// Pack this program instead of building one (a quarter of an hour on two cores).
    #[arg(long, value_name = "PROGRAM")]
    binary: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct CleanArgs {
    /// Also remove ONNX Runtime, models and the reference environment.
    #[arg(long)]
    all: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut stages = Stages::default();
    let result = match &args.chore {
        Chore::Setup(a) => chores::setup(&mut stages, a),
        Chore::Demo(a) => chores::demo(&mut stages, a),
        Chore::Test(a) => chores::test(&mut stages, a),
        Chore::Bench(BenchChore::Host(a)) => bench::host(&mut stages, a),
        Chore::Bench(BenchChore::Verify(a)) => bench::verify(&mut stages, a),
        Chore::Bench(BenchChore::Dispute(a)) => bench::dispute(&mut stages, a),
        Chore::Bench(BenchChore::Matrix(a)) => bench::matrix(&mut stages, a),
        Chore::Bench(BenchChore::Api(a)) => bench::api(&mut stages, a),
        Chore::Gpu(GpuChore::Test) => gpu::test(&mut stages),
        Chore::Gpu(GpuChore::Bundle(a)) => gpu::bundle(&mut stages, a),
        Chore::Guests => chores::guests(&mut stages),
        Chore::Dist(a) => dist::run(&mut stages, a),
        Chore::Book => chores::book(&mut stages),
        Chore::Lint => chores::lint(&mut stages),
        Chore::Clean(a) => chores::clean(&mut stages, a),
    };
    if !matches!(&args.chore, Chore::Demo(a) if a.quiet) {
        stages.report();
    }
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!("xtask: error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
