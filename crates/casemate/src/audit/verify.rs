//! `casemate audit verify`: whether the log is what was signed, offline.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use casemate_ledger::{MAX_TRUSTED_NOTE_BYTES, PublicKey, verify};

use crate::{
    audit::ledger,
    cli::VerifyArgs,
    exit::Exit,
    report::{self, Failure},
    state,
};

/// The key that lies beside the log.
const KEY_FILE: &str = "key.pub";

pub(crate) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let dir = match &args.dir {
        Some(dir) => log_in(dir)?,
        None => ledger()?,
    };
    let (key, trust) = key(args, &dir)?;
    let checkpoint = args.checkpoint.as_deref().map(checkpoint).transpose()?;
    let verified = verify(&dir, &key, checkpoint.as_deref())
        .map_err(|fault| Failure::invalid(fault).context("the log does not verify"))?;
    let (size, root) = (verified.size, verified.root);
    report::print(format_args!(
        "verified: {size} records, root {root}\n{} calls without an outcome\n{trust}\n",
        verified.open_decisions
    ))?;
    if verified.unfinished_bytes > 0 {
        let bytes = verified.unfinished_bytes;
        report::print(format_args!(
            "{bytes} bytes after the last record were never acknowledged: a crash left them, or they are \
             being written\n"
        ))?;
    }
    report::print(format_args!("\n{}", verified.checkpoint))?;
    Ok(Exit::Success)
}

/// A copied log: its directory, or the state directory that it is in.
fn log_in(dir: &Path) -> Result<PathBuf, Failure> {
    [dir.to_owned(), state::ledger_in(dir)]
        .into_iter()
        .find(|dir| dir.join("log").exists())
        .ok_or_else(|| Failure::usage(anyhow::anyhow!("there is no log in {dir:?}")))
}

/// The key to verify with, and what that proves.
fn key(args: &VerifyArgs, dir: &Path) -> Result<(PublicKey, &'static str), Failure> {
    if let Some(given) = &args.public_key {
        let key = parse(given).map_err(Failure::usage)?;
        return Ok((key, "signed by the given key"));
    }
    if args.dir.is_none()
        && let Some(key) = state::existing_key(&state::path()?)
    {
        let key = key.map_err(Failure::failed)?;
        return Ok((key, "signed by the key of this state directory"));
    }
    let beside = dir.join(KEY_FILE);
    let key = read(&beside, MAX_KEY_BYTES).and_then(|text| Ok(text.trim().parse()?));
    Ok((
        key.map_err(Failure::failed)?,
        "signed by the key that lies beside it, which whoever wrote the log chose: say --public-key",
    ))
}

const MAX_KEY_BYTES: usize = 4 << 10;

fn parse(given: &str) -> anyhow::Result<PublicKey> {
    match given.trim().parse() {
        Ok(key) => Ok(key),
        // Not a key; perhaps a file that holds one.
        Err(error) if !Path::new(given).exists() => Err(error).context("--public-key"),
        Err(_) => {
            let text = read(Path::new(given), MAX_KEY_BYTES)?;
            text.trim().parse().with_context(|| format!("in {given:?}"))
        }
    }
}

fn checkpoint(file: &Path) -> Result<String, Failure> {
    read(file, MAX_TRUSTED_NOTE_BYTES).map_err(Failure::usage)
}

fn read(file: &Path, max_bytes: usize) -> anyhow::Result<String> {
    let read = || format!("cannot read {file:?}");
    let text = fs::read_to_string(file).with_context(read)?;
    anyhow::ensure!(
        text.len() <= max_bytes,
        "{file:?} has more than {max_bytes} bytes"
    );
    Ok(text)
}
