//! `casemate profile pin`: what a server of the Model Context Protocol says of its tools now, to be looked at by a person.

use std::{
    env,
    fmt::Write as _,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, anyhow};
use casemate_gateway::mcp::Talk;
use casemate_policy::{Descriptor, McpServer, Profile};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{runtime::Builder, sync::mpsc};

use super::explain;
use crate::{
    exit::Exit,
    report::{self, Failure},
};

/// The largest piece that is read of the server at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait to be looked at.
const PIECES: usize = 16;

pub(super) fn pin(file: &Path, name: &str) -> Result<Exit, Failure> {
    let profile = match Profile::load(file) {
        Ok(profile) => profile,
        Err(error) => {
            explain(&error);
            return Ok(Exit::Invalid);
        }
    };
    let Some(server) = profile.mcp.iter().find(|server| server.name == name) else {
        let known: Vec<_> = profile.mcp.iter().map(|server| &*server.name).collect();
        let name = name.escape_debug();
        let message = format!(
            "there is no server `{name}`: there are {}",
            known.join(", ")
        );
        return Err(Failure::usage(anyhow!(message)));
    };
    let tools = listed(file, server).map_err(Failure::failed)?;
    let descriptors = tools.iter().map(|tool| {
        let shown = tool["name"].as_str().unwrap_or_default().escape_debug();
        Descriptor::of(tool).with_context(|| format!("the tool `{shown}` cannot be pinned"))
    });
    let descriptors = descriptors.collect::<anyhow::Result<Vec<_>>>();
    let descriptors = descriptors.map_err(Failure::failed)?;
    tell(server, &descriptors);
    let mut out = String::from("tools = [\n");
    for descriptor in &descriptors {
        // A string of JSON is one of TOML too.
        let _ = writeln!(out, "  {},", json!(descriptor.canonical()));
    }
    out.push_str("]\n");
    report::print(format_args!("{out}"))?;
    Ok(Exit::Success)
}

/// Says what is new, what has changed and what is gone.
fn tell(server: &McpServer, descriptors: &[Descriptor]) {
    let same = |tool: &Descriptor, other: &Descriptor| tool.name() == other.name();
    for tool in descriptors {
        let pinned = server.tools.iter().find(|pinned| same(tool, pinned));
        let word = match pinned {
            None => "new",
            Some(pinned) if pinned == tool => "as pinned",
            Some(_) => "changed",
        };
        let (server, name, digest) = (&server.name, tool.name(), tool.digest());
        report::line(&format!("{server}.{name}: {word}, {digest}"));
    }
    for pinned in &server.tools {
        if !descriptors.iter().any(|tool| same(tool, pinned)) {
            report::line(&format!("{}.{}: gone", server.name, pinned.name()));
        }
    }
}

/// The tools that a server lists, which runs in a sandbox as any program does.
fn listed(file: &Path, server: &McpServer) -> anyhow::Result<Vec<Value>> {
    let own = env::current_exe().context("cannot find this program")?;
    let mut run = Command::new(own);
    run.arg("run").arg("--profile").arg(file).arg("--");
    let run = run.args(&server.command);
    let run = run.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = run.spawn().context("cannot start the server")?;
    let talk = talk(&mut child)?;
    let runtime = Builder::new_current_thread()
        .build()
        .context("cannot start")?;
    let told = runtime.block_on(ask(talk));
    if told.is_err() {
        // It may go on for as long as it may. One that has ended is not there to be told.
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    }
    let ended = child.wait().context("cannot wait for the server")?;
    told.with_context(|| format!("the server `{}` ({ended})", server.name))
}

async fn ask(mut talk: Talk) -> anyhow::Result<Vec<Value>> {
    talk.begin().await?;
    Ok(talk.tools().await?)
}

/// A conversation over the streams of a process, which two threads carry.
fn talk(child: &mut Child) -> anyhow::Result<Talk> {
    let (to, mut lines) = mpsc::channel::<Vec<u8>>(PIECES);
    let (said, from) = mpsc::channel(PIECES);
    let mut stdin = child.stdin.take().context("no standard input")?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    thread::spawn(move || {
        while let Some(bytes) = lines.blocking_recv() {
            // One that reads no more has ended, or will.
            if stdin.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = stdout.read(&mut piece) {
            let bytes = piece.get(..count).unwrap_or_default();
            // What nobody listens to any more is read all the same, so that it ends.
            drop(said.blocking_send(bytes.to_vec()));
        }
    });
    Ok(Talk::new(to, from))
}
