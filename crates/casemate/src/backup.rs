//! `casemate backup` and `casemate restore`: everything durable, copied while it is used, and put back where nothing is.
//!
//! A backup is a directory: `state` with the files, and `backup.json`, which is written last and says what each of them is. The log is
//! copied first and the agents' databases after it, so that no call that the copied log has can run again under its key; the
//! keys come last. Sockets and logs of processes (`run`) and images, which are built anew, are not in it.

mod copy;
mod manifest;
mod restore;

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use casemate_gateway::{Clock as _, Operation, Stores as _};
use casemate_ledger::{PublicKey, verify};
use casemate_model::Reason;
use serde_json::json;
use tokio::runtime::Builder;

pub(crate) use self::restore::{RestoreArgs, restore};
use self::{
    copy::Copied,
    manifest::{Head, Manifest},
};
use crate::{
    agent_lock::{self, Agents, With},
    exit::Exit,
    policy::operate_in,
    report::{self, Failure},
    state::{self, State},
    system::System,
};

/// The files of the state directory in a backup.
const STATE: &str = "state";
/// What is copied first: the head of the log before the log, which may be longer by then.
const LEDGER: &[&str] = &["ledger/head", "ledger/log", "ledger/key.pub"];
/// How often the log is copied when its head was being written.
const LOG_TRIES: u32 = 5;
/// What is copied in another way, or not at all.
const NOT_COPIED: &[&str] = &["run", "images", "ledger", "agents", "keys"];
/// What is copied last.
const KEYS: &str = "keys";

/// Copy everything durable, as of one moment, also while a server runs.
///
/// The keys are in it: whoever can read it can read everything. Images are not; `casemate image build` makes them.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Where: a directory that is not there, or is empty
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn backup(args: &BackupArgs) -> Result<Exit, Failure> {
    let root = state::path()?;
    if !root.join("keys/signing.key").exists() {
        let nothing = anyhow!("there is nothing to copy in `{}`", root.display());
        return Err(Failure::usage(nothing).hint("CASEMATE_STATE_DIR says where it is"));
    }
    refuse_used(&args.dir)?;
    let dir = std::path::absolute(&args.dir).map_err(Failure::failed)?;
    let real = root.canonicalize().map_err(Failure::failed)?;
    if dir.starts_with(&real) {
        return Err(
            Failure::usage(anyhow!("a backup is not kept in what it is of"))
                .hint("name a directory elsewhere"),
        );
    }
    let operation = operation("state.backup", json!({}));
    let (was_there, mut made) = (dir.exists(), None);
    operate_in(&root, operation, || {
        make_dir(&dir).map_err(Failure::failed)?;
        // Whose it is that is in there is known only of what this makes.
        let state = DirBuilder::new().mode(0o700).create(dir.join(STATE));
        state.map_err(|error| Failure::failed(error).context("cannot begin the copy"))?;
        let copied = copy_all(&real, &dir).map_err(|error| removed(&dir, was_there, error));
        made = Some(copied?);
        Ok(())
    })?;
    let Some(manifest) = made else {
        return Ok(Exit::Success);
    };
    tell("copied", &manifest, args.json)
}

/// What is recorded of either: whoever has a copy has the keys, and whoever puts one back goes back in time.
fn operation(what: &'static str, subject: serde_json::Value) -> Operation {
    Operation {
        what,
        reason: Reason::Allowed,
        detail: "everything durable, with its keys".to_owned(),
        alert: true,
        subject,
    }
}

fn tell(done: &str, manifest: &Manifest, json: bool) -> Result<Exit, Failure> {
    let (files, head) = (manifest.files.len(), &manifest.head);
    if json {
        let said = json!({ "files": files, "made_at_ms": manifest.made_at_ms, "ledger": head });
        report::print(format_args!("{said}\n"))?;
        return Ok(Exit::Success);
    }
    let (records, root) = (head.records, &head.root);
    report::print(format_args!(
        "{done} {files} files; the log has {records} records, root {root}\n"
    ))?;
    Ok(Exit::Success)
}

/// # Errors
/// When something is there.
fn refuse_used(dir: &Path) -> Result<(), Failure> {
    match fs::read_dir(dir).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::usage(anyhow!("`{}` is not empty", dir.display()))
            .hint("nothing is ever replaced: name another directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(Failure::usage(error).context(format!("cannot look at `{}`", dir.display())))
        }
    }
}

/// A directory of this user's alone, with its parents.
fn make_dir(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make `{}`", dir.display()))
}

/// Removes a copy that is not whole: it can have keys in it, and would be in the way of the next.
fn removed(dir: &Path, was_there: bool, error: anyhow::Error) -> Failure {
    let gone = fs::remove_dir_all(dir.join(STATE)).and_then(|()| {
        match fs::remove_file(dir.join(manifest::NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ if was_there => Ok(()),
            _ => fs::remove_dir(dir),
        }
    });
    let failure = Failure::failed(error);
    match gone {
        Ok(()) => failure,
        Err(_) => failure.hint(format!(
            "a part of it is left in `{}`, with its keys: remove it",
            dir.display()
        )),
    }
}

/// Copies the log, until what was copied of it verifies: its head is written in place.
fn log(copied: &mut Copied, dir: &Path, key: &PublicKey) -> anyhow::Result<Head> {
    let mut tries = 0;
    loop {
        for name in LEDGER {
            copied.file(Path::new(name))?;
        }
        tries += 1;
        match head_of(&dir.join(STATE), key) {
            Err(_) if tries < LOG_TRIES => {
                for name in LEDGER {
                    copied.forget(Path::new(name))?;
                }
            }
            head => return head,
        }
    }
}

fn copy_all(root: &Path, dir: &Path) -> anyhow::Result<Manifest> {
    let made_at_ms = System.now_ms();
    // No agent is deleted meanwhile: nothing of it is made anew, and none is there in part.
    let _held = agent_lock::lock(root, Agents::All, With::Others)?;
    let key = State::open(root)?.public_key()?;
    // One that is there already may be open to others.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(dir, private).context("cannot make the directory private")?;
    let mut copied = Copied::new(root, &dir.join(STATE))?;
    let head = log(&mut copied, dir, &key)?;
    databases(root, &mut copied)?;
    for entry in fs::read_dir(root).context("cannot list the state directory")? {
        let name = entry
            .context("cannot list the state directory")?
            .file_name();
        if !NOT_COPIED.iter().any(|other| name == **other) {
            copied.tree(Path::new(&name))?;
        }
    }
    copied.tree(Path::new(KEYS))?;
    let manifest = Manifest::new(made_at_ms, head, copied.finish()?);
    manifest.write(dir)?;
    Ok(manifest)
}

/// How far a copied log goes, if it is what was signed.
fn head_of(state: &Path, key: &PublicKey) -> anyhow::Result<Head> {
    let verified = verify(&state.join("ledger"), key, None);
    let verified = verified.context("the copy of the log does not verify")?;
    Ok(Head {
        records: verified.size,
        root: verified.root.to_string(),
    })
}

fn databases(root: &Path, copied: &mut Copied) -> anyhow::Result<()> {
    let (_, stores) = State::open(root)?.journal()?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    runtime.block_on(async {
        for agent in stores.agents()? {
            let Some(store) = stores.find(&agent).await? else {
                continue;
            };
            let name = Path::new("agents").join(&agent).join("agent.db");
            let to = copied.place(&name)?;
            store.snapshot(&to).await?;
            store.close().await?;
            copied.note(&name)?;
        }
        anyhow::Ok(())
    })
}
