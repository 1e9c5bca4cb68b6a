//! `assay game`: make games that validators play, and check them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use jobs::game::{GAME_BYTES_MAX, GAME_TEXT_BYTES_MAX, GameManifest, GameText, SignedGame};
use serde_json::json;

use crate::commands::receipt;
use crate::exit::{Coded, Exit, fail};
use crate::job::{Prepared, prepare};
use crate::output::Output;
use crate::place::Signer;
use crate::read;

/// The signed game in a game's folder.
const GAME_FILE: &str = "game.json";

/// Make games that validators play, and check them.
#[derive(Debug, Subcommand)]
pub(crate) enum GameCommand {
    /// Lock a game to its job, sign it, and put it into a folder with all that validators need: the
    /// component, the models and the pool of inputs.
    Pack {
        /// What the author wrote.
        #[arg(default_value = "game.toml")]
        game: PathBuf,
        /// The folder; made if it is not there.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        signer: Signer,
    },
    /// Check a game's signature, its bounds and that everything it names is in its folder.
    Verify {
        /// The folder.
        game: PathBuf,
    },
}

pub(crate) fn run(command: &GameCommand, output: Output) -> Result<()> {
    match command {
        GameCommand::Pack { game, out, signer } => pack(game, out, signer, output),
        GameCommand::Verify { game } => describe(&Game::load(game)?, output),
    }
}

/// A game with everything it names.
#[derive(Debug)]
pub(crate) struct Game {
    /// What was signed, and by whom.
    pub(crate) verified: jobs::game::VerifiedGame,
    /// Its job, whose items are the pool.
    pub(crate) prepared: Prepared,
}

impl Game {
    /// Reads and checks a game's folder.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(GAME_FILE);
        let named = || path.display().to_string();
        let bytes = read::bounded(&path, "a game", GAME_BYTES_MAX as u64)?;
        let text = String::from_utf8(bytes).with_context(named);
        let signed = SignedGame::parse(&text.code(Exit::Usage)?).with_context(named)?;
        let verified = signed.verify().with_context(named)?;
        let prepared = Prepared::from_folder(verified.game.package.clone(), |blob| {
            receipt::blob_path(folder, blob)
        })?;
        Ok(Self { verified, prepared })
    }
}

fn pack(text: &Path, out: &Path, signer: &Signer, output: Output) -> Result<()> {
    let named = || text.display().to_string();
    let bytes = read::bounded(text, "a game.toml", GAME_TEXT_BYTES_MAX as u64)?;
    let written = String::from_utf8(bytes).with_context(named);
    let written = GameText::parse(&written.code(Exit::Usage)?).with_context(named)?;
    let base = text.parent().map(Path::to_owned).unwrap_or_default();
    let prepared = prepare(&base.join(&written.job))?;
    let game = GameManifest::lock(written, prepared.package.clone()).with_context(named)?;
    let signed = game.sign(&signer.load()?)?;
    let blobs = out.join("blobs");
    std::fs::create_dir_all(&blobs).with_context(|| blobs.display().to_string())?;
    for (blob, from) in &prepared.files {
        let to = receipt::blob_path(out, blob);
        let copied = std::fs::copy(from, &to);
        copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    std::fs::write(out.join(GAME_FILE), signed.to_text()?)?;
    let packed = Game::load(out)?;
    // What was copied is what was signed, unless a file changed meanwhile.
    if packed.prepared.package.input != prepared.package.input {
        return fail(
            Exit::Failure,
            format!("{} changed while it was packed", named()),
        );
    }
    describe(&packed, output)
}

fn describe(game: &Game, output: Output) -> Result<()> {
    let verified = &game.verified;
    let manifest = &verified.game;
    let value = json!({
        "digest": verified.digest,
        "author": verified.author,
        "game": manifest,
    });
    output.data(&value, || {
        format!(
            "game      {} {} ({})\ndigest    {}\nauthor    {}\nabout     {}\n\
             rounds    {} an epoch, {} to {} of {} items each\ncomponent {}",
            manifest.name,
            manifest.version,
            manifest.measure.name(),
            verified.digest,
            verified.author,
            manifest.about,
            manifest.rounds.per_epoch,
            manifest.rounds.items_min,
            manifest.rounds.items_max,
            manifest.package.input.items,
            manifest.package.component.digest,
        )
    })
}
