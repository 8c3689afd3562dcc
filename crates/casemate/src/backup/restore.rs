//! `casemate restore`: a backup becomes a state directory, if all of it is as it was.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, ensure};
use serde_json::json;
use tokio::runtime::Builder;

use super::{
    STATE,
    copy::{copy, digest},
    head_of, make_dir,
    manifest::{Entry, Manifest},
    operation, refuse_used, tell,
};
use crate::{
    exit::Exit,
    policy::operate_in,
    report::Failure,
    state::{self, State},
};

/// What is being restored has this name beside its place until all of it is there.
const SUFFIX: &str = "restoring";

/// Put a backup in the place of a state directory that is not there.
///
/// Every file is compared with its digest and the log with its signatures before anything is in its place. Calls that ran when the
/// copy was made end as unknown. Whoever restores goes back in time: what came after the copy is not there.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Only compare it with what it says of itself, and verify its log
    #[arg(long)]
    check: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn restore(args: &RestoreArgs) -> Result<Exit, Failure> {
    let manifest = Manifest::read(&args.dir).map_err(Failure::invalid)?;
    let from = args.dir.join(STATE);
    if args.check {
        check(&from, &manifest).map_err(Failure::invalid)?;
        return tell("checked", &manifest, args.json);
    }
    let root = std::path::absolute(state::path()?).map_err(Failure::failed)?;
    refuse_used(&root)?;
    let root = placed(root)?;
    let beside = root.with_added_extension(SUFFIX);
    if beside.exists() {
        let left = anyhow!(
            "`{}` is there, of a restoration that did not end",
            beside.display()
        );
        return Err(Failure::usage(left).hint("remove it"));
    }
    let done = put(&from, &beside, &manifest)
        .map_err(Failure::invalid)
        .and_then(|()| {
            let subject = json!({ "made_at_ms": manifest.made_at_ms, "head": manifest.head });
            operate_in(&beside, operation("state.restore", subject), || Ok(()))?;
            // An empty directory in its place is replaced.
            let cannot = || format!("cannot make `{}`", root.display());
            fs::rename(&beside, &root).map_err(|error| Failure::failed(error).context(cannot()))?;
            let synced = File::open(parent(&root)).and_then(|parent| parent.sync_all());
            synced.map_err(|error| Failure::failed(error).context(cannot()))
        });
    if let Err(failure) = done {
        // It has keys in it.
        let removed = fs::remove_dir_all(&beside);
        return Err(match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => failure
                .hint("a part of it is left beside the state directory, with its keys: remove it"),
            _ => failure,
        });
    }
    tell("restored", &manifest, args.json)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Where the state directory really is, if what is made beside it can be renamed to it.
fn placed(root: PathBuf) -> Result<PathBuf, Failure> {
    let real = match root.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(root),
        real => real.map_err(Failure::failed)?,
    };
    let device = |path: &Path| fs::metadata(path).map(|facts| facts.dev());
    let same = device(&real).and_then(|dev| Ok(dev == device(parent(&real))?));
    if same.map_err(Failure::failed)? {
        return Ok(real);
    }
    let other = anyhow!("`{}` is a file system of its own", real.display());
    Err(Failure::usage(other).hint("nothing can be renamed to it: name a directory in it"))
}

/// Opens a file of a backup.
fn open(from: &Path, entry: &Entry) -> anyhow::Result<File> {
    let path = from.join(&entry.path);
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&path);
    opened.with_context(|| format!("cannot open `{}`", path.display()))
}

fn compare(entry: &Entry, found: (u64, casemate_model::Digest)) -> anyhow::Result<()> {
    let path = &entry.path;
    ensure!(
        found == (entry.bytes, entry.sha256),
        "`{path}` is not as it was copied"
    );
    Ok(())
}

fn check(from: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    for entry in &manifest.files {
        let read = digest(open(from, entry)?, &mut io::sink());
        compare(
            entry,
            read.with_context(|| format!("cannot read `{}`", entry.path))?,
        )?;
    }
    let key = fs::read_to_string(from.join("ledger/key.pub")).context("the log has no key")?;
    let head = head_of(from, &key.trim().parse().context("the log has no key")?)?;
    ensure!(
        head == manifest.head,
        "the log is not the one that was copied"
    );
    Ok(())
}

fn put(from: &Path, to: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    make_dir(to)?;
    for entry in &manifest.files {
        let target = to.join(&entry.path);
        make_dir(target.parent().unwrap_or(to))?;
        let copied = copy(open(from, entry)?, &target);
        compare(
            entry,
            copied.with_context(|| format!("cannot copy `{}`", entry.path))?,
        )?;
    }
    // By the key that signs it from now on, and not by the one that lies beside it.
    let key = State::open(to)?.public_key()?;
    let head = head_of(to, &key)?;
    ensure!(
        head == manifest.head,
        "the log is not the one that was copied"
    );
    lose_calls(to)?;
    let dir = File::open(to).context("cannot open the copy")?;
    rustix::fs::syncfs(dir).context("cannot sync the copy")
}

/// Ends every call that ran when the copy was made: whoever ran it may live, and ends it elsewhere.
fn lose_calls(root: &Path) -> anyhow::Result<()> {
    let (journal, stores) = State::open(root)?.journal()?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let lost = runtime.block_on(journal.close_all(&stores));
    lost.map(drop).context("cannot end the calls of the copy")
}
