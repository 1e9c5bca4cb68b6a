//! `assay job`: make, price, submit and follow jobs.

mod bell;
mod follow;
mod init;
mod run;
mod show;
mod submit;

pub(crate) use follow::{fetch, watch, watch_until};
pub(crate) use submit::submit;

use std::path::PathBuf;

use anyhow::Result;
use api::types::JobView;
use clap::{Args, Subcommand};
use jobs::ids::JobId;
use jobs::money::Amount;
use tracing::Instrument;

use crate::commands::receipt;
use crate::output::Output;
use crate::place::{At, Signer};

/// Make, price, submit and follow jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Write a job.toml for the component, input and models of a folder, with every value explained.
    Init(init::Init),
    /// Read a manifest and everything it names, and show the package without submitting it.
    Validate {
        /// The manifest.
        #[arg(default_value = "job.toml")]
        manifest: PathBuf,
    },
    /// Ask what a job would cost, and who could take it now. Nothing is signed, kept or paid.
    Quote {
        /// The manifest.
        #[arg(default_value = "job.toml")]
        manifest: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Submit a job, wait for it, and fetch and verify its result. With --local: run it on this machine, in the
    /// sandbox that providers use; nothing is signed or paid.
    ///
    /// What the guest logs is shown of local runs only: providers do not return it.
    Run(Box<run::Run>),
    /// Sign a job, submit it and upload what the aggregator lacks.
    ///
    /// If that is interrupted, the same command takes it up where it ended: what was signed is kept
    /// under ~/.cache/assay/submissions ($ASSAY_HOME/submissions) until the aggregator has everything.
    /// A submission that was finished, or changed, is a new job with an escrow of its own.
    Submit(Box<run::Submit>),
    /// List the newest jobs.
    List {
        #[command(flatten)]
        at: At,
        /// At most so many, 1 to 1000.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Only jobs in this phase: waiting, running, merging, provisional, done or failed.
        #[arg(long, value_parser = show::phase)]
        phase: Option<api::types::JobPhase>,
        /// Only jobs of your key.
        #[arg(long)]
        mine: bool,
        #[command(flatten)]
        signer: Signer,
    },
    /// Show where a job is, in short.
    Status {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
    },
    /// Show all that is known of a job: shards, money, times and, once it has ended, who executed what.
    Describe {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
    },
    /// Follow a job until it ends. Ends with code 3 if the job failed.
    Watch {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
        /// Give up after so many seconds, with code 8. The job goes on.
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Show what happened to a job, in order of time, with the reason of every failure.
    ///
    /// Executions are shown once the job has ended: until then nobody may know who else executes a shard. What the
    /// guest itself logs is not returned by providers; `assay job run --local` shows it.
    Logs {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
        /// Wait for the job's end first.
        #[arg(long, short)]
        follow: bool,
    },
    /// Doubt items of a result that is not final: their shards are executed again at your expense, and what is wrong
    /// is replaced. Only from where the job was submitted, and only for audited jobs.
    Challenge {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        signer: Signer,
        /// Which item of the input, counted from 0; may be repeated.
        #[arg(long = "item", required = true)]
        items: Vec<u32>,
    },
    /// Download result and receipts of a finished job, and verify them.
    #[command(visible_alias = "result")]
    Results {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
        /// Directory to write.
        #[arg(long, default_value = "job-result")]
        out: PathBuf,
        /// Take a result that is not final, alone: there is no record yet to verify it by.
        #[arg(long)]
        provisional: bool,
    },
    /// Verify a downloaded result without any network: signatures, Merkle roots, comparisons, payments and that every
    /// file is what was paid for.
    Verify {
        #[command(flatten)]
        check: receipt::Check,
    },
    /// End a job that is waiting or running. What no verdict has paid yet returns to you. Only from where the job was
    /// submitted.
    Cancel {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        signer: Signer,
    },
    /// Submit a job again that was submitted from here: the same package as a new job with an escrow of its own.
    ///
    /// Everything its manifest names is read again and must be what it was.
    Retry {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        signer: Signer,
        #[command(flatten)]
        spending: Spending,
        /// Wait until the new job ends.
        #[arg(long)]
        wait: bool,
    },
}

/// What may be spent without asking.
#[derive(Clone, Debug, Args)]
pub(crate) struct Spending {
    /// Submit nothing that may cost more [default: what is configured, else any price].
    #[arg(long)]
    max_price: Option<Amount>,
    /// Do not ask before money is put in escrow. Nobody is asked where there is no terminal.
    #[arg(long, short)]
    yes: bool,
}

/// Does what the command says, in a span that whatever others do about it belongs to.
pub(crate) async fn run(command: JobCommand, output: Output) -> Result<()> {
    let name = match &command {
        JobCommand::Run(_) => "assay job run",
        JobCommand::Submit(_) => "assay job submit",
        JobCommand::Retry { .. } => "assay job retry",
        _ => "assay job",
    };
    let span = tracing::info_span!(target: api::trace::TARGET, "assay", otel.name = name);
    perform(command, output).instrument(span).await
}

async fn perform(command: JobCommand, output: Output) -> Result<()> {
    match command {
        JobCommand::Init(init) => init::run(&init, output),
        JobCommand::Validate { manifest } => submit::validate(&manifest, output),
        JobCommand::Quote { manifest, at } => submit::quote(&manifest, &at, output).await,
        JobCommand::Run(run) => run::run(*run, output).await,
        JobCommand::Submit(submit) => run::submit(*submit, output).await,
        JobCommand::List {
            at,
            limit,
            phase,
            mine,
            signer,
        } => show::list(&at, limit, phase, mine.then_some(&signer), output).await,
        JobCommand::Status { job, at } => {
            let view = at.client()?.job(job).await?;
            output.data(&view, || show::describe(&view))
        }
        JobCommand::Describe { job, at } => show::full(&at.client()?, job, output).await,
        JobCommand::Watch { job, at, timeout } => {
            let client = at.client()?;
            let watching = watch(&client, job, output);
            finish(&follow::in_time(timeout, watching).await?, output)
        }
        JobCommand::Logs { job, at, follow } => {
            show::logs(&at.client()?, job, follow, output).await
        }
        JobCommand::Challenge {
            job,
            at,
            signer,
            items,
        } => run::challenge(&signer.client(&at)?, job, &items, output).await,
        JobCommand::Results {
            job,
            at,
            out,
            provisional,
        } => follow::results(&at.client()?, job, &out, provisional, output).await,
        JobCommand::Verify { check } => receipt::check(&check, output),
        JobCommand::Cancel { job, at, signer } => {
            run::cancel(&signer.client(&at)?, job, output).await
        }
        JobCommand::Retry {
            job,
            at,
            signer,
            spending,
            wait,
        } => run::retry(job, &at, &signer, &spending, wait, output).await,
    }
}

/// Shows how a job ended; an error if it failed.
fn finish(view: &JobView, output: Output) -> Result<()> {
    output.data(view, || show::describe(view))?;
    follow::done(view)
}
