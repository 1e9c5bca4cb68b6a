//! `assay`: every role in one program. This is the composition root: it reads the command line,
//! builds what a command needs and maps errors to exit codes. One file per command.

mod aggregator_file;
mod bytes;
mod calibrate;
mod canaries;
mod clock;
mod commands;
mod component;
mod config;
mod control;
mod daemon_file;
mod devnet;
mod doctor;
mod draws;
mod exit;
mod hints;
mod home;
mod job;
mod keys;
mod machine;
mod operator;
mod output;
mod packing;
mod patience;
mod period;
mod place;
mod problems;
mod provider_file;
mod pull;
mod read;
mod service;
mod shares;
mod submission;
mod telemetry;
mod validator;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::commands::{
    aggregator, devnet as devnet_command, game, job as job_command, key, ledger, liquidation,
    model, provider, receipt, sim, validator as validator_command,
};
use crate::exit::{Exit, Fix, fail};
use crate::output::Output;
use crate::telemetry::Telemetry;

/// Runs AI inference on machines nobody has to trust, and pays only for answers that check out.
#[derive(Debug, Parser)]
#[command(name = "assay", version, after_help = exit::EXIT_CODES, propagate_version = true)]
struct Cli {
    /// Print data as JSON, one value a line.
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing on stderr but errors.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Mean the aggregator and key of this context (`assay context list`).
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Manage the keys that sign your jobs.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Show and change what is configured.
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// Give aggregators names, and choose which one commands mean.
    #[command(subcommand)]
    Context(commands::context::ContextCommand),
    /// Begin, build and inspect job components.
    #[command(subcommand)]
    Component(commands::component::ComponentCommand),
    /// Make, price, submit and follow jobs.
    #[command(subcommand)]
    Job(job_command::JobCommand),
    /// Fetch models, measure how far honest answers of one are apart, and check what others measured.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Rent out this machine.
    #[command(subcommand)]
    Provider(provider::ProviderCommand),
    /// Run an aggregator.
    #[command(subcommand)]
    Aggregator(aggregator::AggregatorCommand),
    /// Make games that validators play, and check them.
    #[command(subcommand)]
    Game(game::GameCommand),
    /// Play games as a client, and report what they showed.
    #[command(subcommand)]
    Validator(validator_command::ValidatorCommand),
    /// Look at the money, or move some in.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Check what a finished job left behind.
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Have a judged answer executed again, and its provider's stake taken if it is wrong.
    #[command(subcommand)]
    Liquidation(liquidation::LiquidationCommand),
    /// Attack the aggregator's core, or the policy of its audits, with simulated providers.
    #[command(subcommand)]
    Sim(sim::SimCommand),
    /// Run a whole market on this machine.
    #[command(subcommand)]
    Devnet(devnet_command::DevnetCommand),
    /// Look for what is missing here, and say what mends it. Ends with code 1 if something fails.
    Doctor(commands::doctor::Doctor),
    /// Say what an exit code or the code of a refusal means, and what to do.
    Explain(commands::explain::Explain),
    /// Print completions for a shell.
    ///
    /// bash: assay completions bash > ~/.local/share/bash-completion/completions/assay
    /// zsh: assay completions zsh > ~/.zfunc/_assay (with ~/.zfunc in fpath)
    /// fish: assay completions fish > ~/.config/fish/completions/assay.fish
    #[command(verbatim_doc_comment)]
    Completions(commands::shell::Completions),
    /// Print the manual page, or write one for every command.
    Man(commands::shell::Manual),
    /// Print which program this is.
    Version,
    /// Execute shards for a provider, over stdin and stdout. Started by `assay provider`.
    #[command(hide = true)]
    Worker,
    /// As `worker`, and attack from inside first. Started by `assay provider selftest`.
    #[command(hide = true)]
    WorkerDrill,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Clap's own codes are 0 for --help and 2 for misuse, which is what we document.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if matches!(cli.command, Command::Worker) {
        return runtime::worker::main();
    }
    if matches!(cli.command, Command::WorkerDrill) {
        return runtime::worker::main_with(runtime::worker::drill::attack);
    }
    if let Err(error) = home::make_variables_absolute() {
        return report(&error);
    }
    config::choose_context(cli.context);
    let telemetry = match service(&cli.command).map(Telemetry::start).transpose() {
        Ok(telemetry) => telemetry.unwrap_or_default(),
        Err(error) => return report(&error),
    };
    if let Err(error) = start_logging(&telemetry) {
        return report(&error);
    }
    let output = Output {
        json: cli.json,
        quiet: cli.quiet,
    };
    let code = match run(cli.command, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    };
    telemetry.end();
    code
}

/// Who this is, for whoever looks at traces; nobody, where there is nothing to look at. What the variables of traces say does
/// not matter to the others: they are often set for the whole machine, and for other programs than this.
const fn service(command: &Command) -> Option<&'static str> {
    match command {
        Command::Aggregator(_) => Some("assay-aggregator"),
        Command::Provider(_) => Some("assay-provider"),
        Command::Validator(_) => Some("assay-validator"),
        Command::Job(_) => Some("assay-client"),
        _ => None,
    }
}

/// Says what is wrong and, where it is known, what mends it.
fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    if let Some(fix) = hints::of(error) {
        eprintln!("fix: {fix}");
    }
    ExitCode::from(exit::code_of(error) as u8)
}

/// Logs go to stderr: warnings by default, more with `ASSAY_LOG=info` or finer filters; a JSON object a line with
/// `ASSAY_LOG_FORMAT=json`. Spans go to a collector too, if there is one.
fn start_logging(telemetry: &Telemetry) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("ASSAY_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match std::env::var("ASSAY_LOG_FORMAT")
        .unwrap_or_default()
        .as_str()
    {
        "" | "text" => log.boxed(),
        "json" => log.json().flatten_event(true).boxed(),
        other => {
            return fail(Exit::Usage, format!("ASSAY_LOG_FORMAT is {other:?}"))
                .fix("set it to text or json, or to nothing");
        }
    };
    let spans = Targets::new().with_target(api::trace::TARGET, tracing::Level::INFO);
    let traces = telemetry.tracer().map(|tracer| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        layer.with_location(false).with_filter(spans)
    });
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(traces)
        .init();
    Ok(())
}

/// A daemon holds a key: its memory is for no other process of its user's, and goes into no core dump.
/// (A worker is another program to the kernel, and looks after itself.)
fn keep_to_itself() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

fn run(command: Command, output: Output) -> anyhow::Result<()> {
    if matches!(
        command,
        Command::Provider(_) | Command::Aggregator(_) | Command::Validator(_)
    ) {
        keep_to_itself()?;
    }
    // Commands that need no async executor run without one.
    match command {
        Command::Key(command) => return key::run(&command, output),
        Command::Config(command) => return commands::config::run(&command, output),
        Command::Context(command) => return commands::context::run(&command, output),
        Command::Component(command) => return commands::component::run(&command, output),
        Command::Explain(command) => return commands::explain::run(&command, output),
        Command::Completions(wanted) => {
            return commands::shell::completions(&wanted, Cli::command(), output);
        }
        Command::Man(wanted) => return commands::shell::manual(&wanted, Cli::command(), output),
        Command::Version => return commands::shell::version(output),
        Command::Sim(command) => return sim::run(&command, output),
        Command::Game(command) => return game::run(&command, output),
        _ => {}
    }
    let executor = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    executor.block_on(async {
        match command {
            Command::Job(command) => unless_interrupted(job_command::run(command, output)).await,
            Command::Model(command) => unless_interrupted(model::run(command, output)).await,
            Command::Doctor(command) => commands::doctor::run(&command, output).await,
            Command::Provider(command) => provider::run(command, output).await,
            Command::Aggregator(command) => aggregator::run(command, output).await,
            Command::Validator(command) => validator_command::run(command, output).await,
            Command::Ledger(command) => ledger::run(command, output).await,
            Command::Receipt(command) => receipt::run(&command, output),
            Command::Liquidation(command) => liquidation::run(command, output).await,
            Command::Devnet(command) => devnet_command::run(command, output).await,
            Command::Key(_)
            | Command::Config(_)
            | Command::Context(_)
            | Command::Component(_)
            | Command::Explain(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Version
            | Command::Sim(_)
            | Command::Game(_)
            | Command::Worker
            | Command::WorkerDrill => Ok(()),
        }
    })
}

/// Does the work unless Ctrl-C comes first; then what the work holds is dropped, which ends its processes.
async fn unless_interrupted(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        done = work => done,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            fail(Exit::Interrupted, "interrupted").fix("run it again: what was begun is taken up")
        }
    }
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Cli, Command};

    /// The value of a key in a unit.
    fn value<'a>(unit: &'a str, key: &str) -> &'a str {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.strip_prefix('='))
            .unwrap_or_else(|| panic!("{key} is missing"))
    }

    #[test]
    fn the_packaged_units_start_what_this_program_knows_and_wait_longer_than_it_drains() {
        let provider = include_str!("../../packaging/systemd/assay-provider.service");
        let aggregator = include_str!("../../packaging/systemd/assay-aggregator.service");
        let parse = |unit| {
            let line = value(unit, "ExecStart");
            // A variable of arguments is empty unless the operator fills it.
            let words = line.split(' ').filter(|word| !word.starts_with("$ASSAY"));
            Cli::try_parse_from(words).unwrap().command
        };
        assert!(matches!(parse(provider), Command::Provider(_)));
        assert!(matches!(parse(aggregator), Command::Aggregator(_)));
        let start = value(provider, "ExecStart");
        let drain = start.split("--drain-seconds ").nth(1).unwrap();
        let drain: u64 = drain.parse().unwrap();
        let stop: u64 = value(provider, "TimeoutStopSec").parse().unwrap();
        assert!(
            stop > drain,
            "killed after {stop} s while draining for {drain} s"
        );
    }

    #[test]
    fn only_what_has_spans_to_send_looks_at_the_variables_of_traces() {
        let who = |words: &[&str]| {
            let words = ["assay"].iter().chain(words);
            super::service(&Cli::try_parse_from(words).unwrap().command)
        };
        for silent in [
            &["version"][..],
            &["completions", "bash"],
            &["key", "list"],
            &["explain", "2"],
            &["doctor"],
        ] {
            assert_eq!(who(silent), None, "{silent:?}");
        }
        assert_eq!(who(&["job", "list"]), Some("assay-client"));
        assert_eq!(who(&["aggregator", "status"]), Some("assay-aggregator"));
        assert_eq!(who(&["provider", "status"]), Some("assay-provider"));
    }

    #[test]
    fn a_daemons_memory_is_its_own() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        super::keep_to_itself().unwrap();
        let now = dumpable_behavior().unwrap();
        assert_eq!(now, DumpableBehavior::NotDumpable);
    }
}
