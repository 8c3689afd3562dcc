//! Where and when a measurement was made, without naming the machine.

use std::{fs, path::Path, process::Command, thread};

use anyhow::{Context, Result};
use jiff::{Timestamp, tz::TimeZone};

use crate::{Tree, process};

/// The facts that a page of measurements starts with.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) cores: usize,
}

impl Host {
    pub(super) fn of(tree: &Tree) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("cannot read the kernel's release")?;
        Ok(Self {
            date: Timestamp::now()
                .to_zoned(TimeZone::UTC)
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            commit: commit(tree)?,
            kernel: kernel.trim().to_owned(),
            cpu: cpu.to_owned(),
            cores: thread::available_parallelism()?.get(),
        })
    }
}

/// The commit, and whether code beside it was measured too.
fn commit(tree: &Tree) -> Result<String> {
    let git = |arguments: &[&str]| {
        process::capture(Command::new("git").current_dir(tree.root()).args(arguments))
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&[
        "status",
        "--porcelain",
        "--",
        "crates",
        "Cargo.lock",
        "Cargo.toml",
    ])?;
    let suffix = if changed.is_empty() {
        ""
    } else {
        " with uncommitted changes"
    };
    Ok(format!("{}{suffix}", commit.trim()))
}

/// The kind of file system that holds `path`.
pub(super) fn file_system(path: &Path) -> Result<&'static str> {
    let magic = rustix::fs::statfs(path)
        .with_context(|| format!("cannot look at the file system of {}", path.display()))?
        .f_type;
    Ok(match magic {
        0xEF53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x794C_7630 => "overlayfs",
        0x0102_1994 => "tmpfs",
        _ => "another file system",
    })
}
