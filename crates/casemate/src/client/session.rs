//! `casemate session`: the sessions of the gateway, and their files.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use bytes::Bytes;
use casemate_model::{Stream, Text};
use clap::Subcommand;
use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming, header};
use serde_json::{Value, json};

use super::{
    connection::{Gateway, block_on, encoded, print, problem, read, request},
    shell,
    upload::Upload,
};
use crate::{
    exit::Exit,
    report::{self, Failure},
    run::write_stream,
    values,
};

/// Which gateway, and in whose name.
#[derive(Debug, clap::Args)]
pub(crate) struct Who {
    #[command(flatten)]
    pub(super) gateway: Gateway,

    /// The agent whose sessions they are
    #[arg(long, value_name = "NAME", default_value = "local", value_parser = values::agent)]
    agent: String,
}

/// Look at sessions of `casemate serve`, and use their files.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Print the sessions that live, and those that ended not long ago, one JSON object a line
    List {
        #[command(flatten)]
        who: Who,
    },
    /// Print one session as JSON
    Show {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
    },
    /// Open the session of a thread, if it has none, and print its name
    Open {
        #[command(flatten)]
        who: Who,
        /// The thread
        thread: String,
        /// The route, when the gateway has several
        #[arg(long, value_name = "NAME")]
        route: Option<String>,
    },
    /// Destroy a session with everything in it
    Destroy {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
    },
    /// End everything in a session but its files, which are kept on disk until it is resumed
    Pause {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
    },
    /// Bring a paused session back: a new sandbox with its files
    Resume {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
    },
    /// Open a new session with the files of this one, and print its name
    Copy {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
        /// The thread that the new one is for, which has none
        #[arg(long, value_name = "NAME")]
        thread: Option<String>,
    },
    /// Copy a file into a session
    Put {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
        /// The file here
        file: PathBuf,
        /// Its path in /workspace [default: its name]
        path: Option<String>,
    },
    /// Copy a file out of a session
    Get {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
        /// The path in /workspace
        path: String,
        /// The file here; standard output if there is none
        file: Option<PathBuf>,
    },
    /// List a directory of a session
    Ls {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
        /// The directory in /workspace [default: all of it]
        #[arg(default_value = "")]
        path: String,
    },
    /// Remove a file of a session
    Rm {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
        /// The path in /workspace
        path: String,
    },
    /// Open a terminal in a session
    Shell {
        #[command(flatten)]
        who: Who,
        /// The session (`ses_…`)
        session: String,
    },
}

impl Who {
    fn path(&self, rest: &str) -> String {
        format!("/v1/sessions{rest}?agent={}", encoded(&self.agent))
    }

    fn file(&self, session: &str, path: &str) -> String {
        self.path(&format!("/{}/files/{}", encoded(session), encoded(path)))
    }

    pub(super) fn terminal(&self, session: &str) -> String {
        self.path(&format!("/{}/terminal", encoded(session)))
    }
}

pub(crate) fn run(command: SessionCommand) -> Result<Exit, Failure> {
    block_on(Box::pin(perform(command)))
}

async fn perform(command: SessionCommand) -> Result<Exit, Failure> {
    match command {
        SessionCommand::List { who } => list(&who).await,
        SessionCommand::Show { who, session } => {
            let path = who.path(&format!("/{}", encoded(&session)));
            print(&who.gateway.ask("GET", &path, None).await?)
        }
        SessionCommand::Open { who, thread, route } => {
            let body = json!({ "agent": who.agent, "thread": thread, "route": route });
            let opened = who.gateway.ask("POST", "/v1/sessions", Some(&body)).await?;
            print(&opened)
        }
        SessionCommand::Destroy { who, session } => {
            let path = who.path(&format!("/{}", encoded(&session)));
            who.gateway.ask("DELETE", &path, None).await?;
            Ok(Exit::Success)
        }
        SessionCommand::Pause { who, session } => {
            let path = who.path(&format!("/{}/pause", encoded(&session)));
            print(&who.gateway.ask("POST", &path, None).await?)
        }
        SessionCommand::Resume { who, session } => {
            let path = who.path(&format!("/{}/resume", encoded(&session)));
            print(&who.gateway.ask("POST", &path, None).await?)
        }
        SessionCommand::Copy {
            who,
            session,
            thread,
        } => {
            let path = who.path(&format!("/{}/copy", encoded(&session)));
            let thread = thread.map(|thread| format!("&thread={}", encoded(&thread)));
            let path = path + thread.as_deref().unwrap_or_default();
            print(&who.gateway.ask("POST", &path, None).await?)
        }
        SessionCommand::Put {
            who,
            session,
            file,
            path,
        } => put(&who, &session, file, path).await,
        SessionCommand::Get {
            who,
            session,
            path,
            file,
        } => get(&who, &session, &path, file).await,
        SessionCommand::Ls { who, session, path } => ls(&who, &session, &path).await,
        SessionCommand::Rm { who, session, path } => {
            let path = who.file(&session, &path);
            who.gateway.ask("DELETE", &path, None).await?;
            Ok(Exit::Success)
        }
        SessionCommand::Shell { who, session } => shell::open(&who, &session).await,
    }
}

async fn list(who: &Who) -> Result<Exit, Failure> {
    let listed = who.gateway.ask("GET", &who.path(""), None).await?;
    let sessions = listed.get("sessions").and_then(Value::as_array);
    for session in sessions.into_iter().flatten() {
        report::print(format_args!("{session}\n"))?;
    }
    Ok(Exit::Success)
}

async fn ls(who: &Who, session: &str, path: &str) -> Result<Exit, Failure> {
    let files = who.path(&format!("/{}/files", encoded(session)));
    let files = format!("{files}&path={}", encoded(path));
    let listed = who.gateway.ask("GET", &files, None).await?;
    let entries = listed.get("entries").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let name = entry.get("name").cloned().unwrap_or_default();
        let name: Text = serde_json::from_value(name).map_err(Failure::failed)?;
        let kind = entry.get("kind").and_then(Value::as_str).unwrap_or("?");
        let bytes = entry.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        report::print(format_args!("{kind:<9} {bytes:>12} {name}\n"))?;
    }
    Ok(Exit::Success)
}

async fn put(
    who: &Who,
    session: &str,
    file: PathBuf,
    path: Option<String>,
) -> Result<Exit, Failure> {
    let shown = Text::from(file.clone().into_os_string());
    let name = file.file_name().and_then(|name| name.to_str());
    let path = path.or_else(|| name.map(str::to_owned));
    let path = path.ok_or_else(|| {
        Failure::usage(anyhow::anyhow!("`{shown}` does not end in a name in UTF-8"))
            .hint("say PATH")
    })?;
    let content = std::fs::File::open(&file)
        .map_err(|error| Failure::usage(error).context(format!("cannot read `{shown}`")))?;
    let request = Request::builder()
        .method("PUT")
        .uri(who.file(session, &path))
        .header(header::HOST, "casemate")
        .body(Upload::of(content))
        .map_err(Failure::usage)?;
    let response = who.gateway.send(request).await?;
    let status = response.status();
    let answer = read(response).await?;
    if status.is_success() {
        return print(&answer);
    }
    Err(problem(status, &answer))
}

async fn get(who: &Who, session: &str, path: &str, file: Option<PathBuf>) -> Result<Exit, Failure> {
    let request = request("GET", &who.file(session, path), None)?;
    let response = who.gateway.send(request).await?;
    let status = response.status();
    if !status.is_success() {
        return Err(problem(status, &read(response).await?));
    }
    let mut body = response.into_body();
    let Some(file) = file else {
        while let Some(piece) = next(&mut body).await? {
            write_stream(Stream::Stdout, &piece).map_err(Failure::failed)?;
        }
        return Ok(Exit::Success);
    };
    let shown = Text::from(file.clone().into_os_string());
    let failed =
        |error: io::Error| Failure::failed(error).context(format!("cannot write `{shown}`"));
    // Beside its place first: what is cut off does not look like the file.
    let part = file.with_added_extension("part");
    let mut content = std::fs::File::create(&part).map_err(failed)?;
    let copied = async {
        while let Some(piece) = next(&mut body).await? {
            content.write_all(&piece).map_err(failed)?;
        }
        content.sync_all().map_err(failed)?;
        std::fs::rename(&part, &file).map_err(failed)
    };
    let copied = copied.await;
    if copied.is_err() {
        // The error is what counts.
        drop(std::fs::remove_file(&part));
    }
    copied.map(|()| Exit::Success)
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    loop {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let frame =
            frame.map_err(|error| Failure::failed(error).context("the file was cut off"))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}
