//! A network in which every address is this machine.

use std::{env, fs, os::unix::process::CommandExt as _, process::Command};

use crate::Failure;

/// Says that we are inside.
const INSIDE: &str = "CASEMATE_PEERS_INSIDE";

/// Goes inside and does `what` there.
pub(crate) fn run(words: &[&str], what: fn() -> Result<(), Failure>) -> Result<(), Failure> {
    if env::var_os(INSIDE).is_some() {
        prepare()?;
        return what();
    }
    let error = Command::new("unshare")
        // In processes of its own: what a proxy leaves behind ends with this.
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--"])
        .arg(env::current_exe()?)
        .args(words)
        .env(INSIDE, "1")
        .exec();
    Err(error.into())
}

fn prepare() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let (hosts, resolv) = (
        directory.path().join("hosts"),
        directory.path().join("resolv"),
    );
    fs::write(&hosts, "")?;
    fs::write(
        &resolv,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )?;
    command("ip", &["link", "set", "lo", "up"])?;
    command("ip", &["route", "add", "local", "0.0.0.0/0", "dev", "lo"])?;
    command("ip", &["-6", "route", "add", "local", "::/0", "dev", "lo"])?;
    // Where squid leaves things that would be in the way of the next.
    command("mount", &["-t", "tmpfs", "tmpfs", "/dev/shm"])?;
    for (from, to) in [(hosts, "/etc/hosts"), (resolv, "/etc/resolv.conf")] {
        let from = from.to_str().ok_or("no path")?;
        command("mount", &["--bind", from, to])?;
    }
    Ok(())
}

fn command(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    match Command::new(program).args(arguments).status()?.success() {
        true => Ok(()),
        false => Err(format!("{program} {arguments:?} failed").into()),
    }
}
