//! `assay`: every role in one program. This is the composition root: it reads the command line,
//! builds what a command needs and maps errors to exit codes. One file per command.

mod bytes;
mod calibrate;
mod canaries;
mod commands;
mod component;
mod control;
mod devnet;
mod draws;
mod exit;
mod home;
mod job;
mod machine;
mod output;
mod patience;
mod period;
mod provider_file;
mod read;
mod service;
mod shares;
mod submission;
mod validator;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::commands::{
    aggregator, devnet as devnet_command, game, job as job_command, key, ledger, liquidation,
    model, provider, receipt, sim, validator as validator_command,
};
use crate::output::Output;

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
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Manage the key that signs your jobs.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Begin, build and inspect job components.
    #[command(subcommand)]
    Component(commands::component::ComponentCommand),
    /// Check, run, submit and follow jobs.
    #[command(subcommand)]
    Job(job_command::JobCommand),
    /// Measure how far honest answers of a model are apart, and check what others measured.
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
        eprintln!("error: {error:#}");
        return ExitCode::from(exit::code_of(&error) as u8);
    }
    start_logging();
    let output = Output {
        json: cli.json,
        quiet: cli.quiet,
    };
    match run(cli.command, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::code_of(&error) as u8)
        }
    }
}

/// Logs go to stderr: warnings by default, more with `ASSAY_LOG=info` or finer filters.
fn start_logging() {
    let filter = EnvFilter::try_from_env("ASSAY_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
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
        Command::Component(command) => return commands::component::run(&command, output),
        Command::Sim(command) => return sim::run(&command, output),
        Command::Game(command) => return game::run(&command, output),
        _ => {}
    }
    let executor = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    executor.block_on(async {
        match command {
            Command::Job(command) => job_command::run(command, output).await,
            Command::Model(command) => model::run(command, output).await,
            Command::Provider(command) => provider::run(command, output).await,
            Command::Aggregator(command) => aggregator::run(command, output).await,
            Command::Validator(command) => validator_command::run(command, output).await,
            Command::Ledger(command) => ledger::run(command, output).await,
            Command::Receipt(command) => receipt::run(&command, output),
            Command::Liquidation(command) => liquidation::run(command, output).await,
            Command::Devnet(command) => devnet_command::run(command, output).await,
            Command::Key(_)
            | Command::Component(_)
            | Command::Sim(_)
            | Command::Game(_)
            | Command::Worker
            | Command::WorkerDrill => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_daemons_memory_is_its_own() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        super::keep_to_itself().unwrap();
        let now = dumpable_behavior().unwrap();
        assert_eq!(now, DumpableBehavior::NotDumpable);
    }
}
