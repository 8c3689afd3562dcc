//! `casemate credential`: what identity holds. A secret comes from standard input or a file, and is never shown.

mod explain;
mod kind;
mod read;

use std::path::{Path, PathBuf};

use casemate_gateway::{Clock as _, Operation};
use casemate_identity::{By, Handle, Header, RemoteIdentity, Secrets, Side, Store};
use casemate_model::Reason;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use self::{kind::KindArgs, read::read};
use crate::{
    exit::Exit,
    identity,
    policy::operate,
    report::{self, Failure},
    state,
    system::System,
};

/// Credentials, which sandboxes never see.
#[derive(Debug, Subcommand)]
pub(crate) enum CredentialCommand {
    /// Keep a credential; its secret is read from standard input, or from a file
    Add(Box<AddArgs>),
    /// List the credentials, without their secrets
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Give a credential a new secret, from standard input or a file
    Rotate {
        /// Its handle
        #[arg(value_name = "HANDLE")]
        handle: Handle,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Take a credential back, at once and for good: its secret is destroyed
    Revoke {
        /// Its handle
        #[arg(value_name = "HANDLE")]
        handle: Handle,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Say whether a credential can be used; if tokens are fetched with it, one is
    Test {
        /// Its handle
        #[arg(value_name = "HANDLE")]
        handle: Handle,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say who can use a credential, where, and under which policy
    Explain(ExplainArgs),
}

/// Keep a credential.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// What profiles call it: `cred:` and a name
    #[arg(value_name = "HANDLE")]
    handle: Handle,
    #[command(flatten)]
    kind: KindArgs,
    #[command(flatten)]
    secret: SecretArgs,
}

/// Where secrets are read from.
#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// Read the secret from this file instead of standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Read the second secret from this file: the secret of an OAuth client that has a refresh token, or the session token of AWS
    #[arg(long, value_name = "FILE")]
    second_secret_file: Option<PathBuf>,
}

/// Say who can use a credential.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Its handle
    #[arg(value_name = "HANDLE")]
    pub(crate) handle: Handle,
    /// A profile (.json or .toml), instead of the routes of the bundle in force; can be repeated
    #[arg(long = "profile", value_name = "FILE")]
    pub(crate) profiles: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(command: CredentialCommand) -> Result<Exit, Failure> {
    let root = state::path()?;
    match command {
        CredentialCommand::Add(args) => add(&root, *args),
        CredentialCommand::List { json } => list(&root, json),
        CredentialCommand::Rotate { handle, secret } => rotate(&root, &handle, &secret),
        CredentialCommand::Revoke { handle, reason } => revoke(&root, &handle, &reason),
        CredentialCommand::Test { handle, json } => test(&root, &handle, json),
        CredentialCommand::Explain(args) => explain::run(&root, &args),
    }
}

fn store(root: &Path) -> Result<Store, Failure> {
    identity::store(root).map_err(Failure::failed)
}

fn secrets(args: &SecretArgs, form: casemate_identity::Form) -> Result<Secrets, Failure> {
    let second = args.second_secret_file.as_deref();
    Ok(Secrets {
        main: read(args.secret_file.as_deref(), form)?,
        second: second
            .map(|path| read(Some(path), casemate_identity::Form::Line))
            .transpose()?,
    })
}

fn add(root: &Path, args: AddArgs) -> Result<Exit, Failure> {
    let kind = args.kind.kind()?;
    kind.check().map_err(Failure::usage)?;
    let secrets = secrets(&args.secret, kind.form())?;
    let store = store(root)?;
    let operation = operation("credential.add", &args.handle, json!({ "kind": kind }));
    operate(operation, || {
        store
            .add(args.handle.clone(), kind, &secrets, System.now_ms())
            .map(drop)
            .map_err(Failure::usage)
    })?;
    report::line(&format!(
        "{} is kept; `casemate credential explain` says who can use it",
        args.handle
    ));
    Ok(Exit::Success)
}

fn rotate(root: &Path, handle: &Handle, args: &SecretArgs) -> Result<Exit, Failure> {
    let store = store(root)?;
    let seen = known(&store, handle)?;
    let mut secrets = secrets(args, seen.kind.form())?;
    if secrets.second.is_none() && seen.kind.has_second() {
        // The client stays the same; a session's token belongs to its key.
        use casemate_identity::Kind;
        let keeps = matches!(
            seen.kind,
            Kind::OauthRefresh { .. } | Kind::TokenExchange { .. }
        );
        secrets.second = match keeps {
            true => store.read(handle).map_err(Failure::failed)?.secrets.second,
            false => None,
        };
    }
    let operation = operation(
        "credential.rotate",
        handle,
        json!({ "version": seen.version }),
    );
    operate(operation, || {
        store
            .renew(&seen, &secrets, By::Person, System.now_ms())
            .map(drop)
            .map_err(Failure::failed)
    })?;
    report::line(&format!("{handle} has a new secret"));
    Ok(Exit::Success)
}

fn revoke(root: &Path, handle: &Handle, reason: &str) -> Result<Exit, Failure> {
    let store = store(root)?;
    known(&store, handle)?;
    let operation = operation("credential.revoke", handle, json!({ "why": reason }));
    operate(operation, || {
        store.revoke(handle).map(drop).map_err(Failure::failed)
    })?;
    report::line(&format!(
        "{handle} is revoked, and its secret destroyed; take it back where it was issued, too"
    ));
    Ok(Exit::Success)
}

fn known(store: &Store, handle: &Handle) -> Result<Header, Failure> {
    let found = store.header(handle).map_err(Failure::failed)?;
    found.ok_or_else(|| {
        Failure::invalid(anyhow::anyhow!("there is no credential `{handle}`"))
            .hint("`casemate credential list` shows them")
    })
}

fn list(root: &Path, json: bool) -> Result<Exit, Failure> {
    for header in store(root)?.list().map_err(Failure::failed)? {
        if json {
            let line = serde_json::to_string(&header).map_err(Failure::failed)?;
            report::print(format_args!("{line}\n"))?;
            continue;
        }
        let mark = if header.reflected {
            ", seen in an answer: rotate it"
        } else {
            ""
        };
        report::print(format_args!(
            "{:<11} {:<13} {} (version {}{mark})\n",
            header.state.as_str(),
            header.kind.as_str(),
            header.handle,
            header.version
        ))?;
    }
    Ok(Exit::Success)
}

fn test(root: &Path, handle: &Handle, json: bool) -> Result<Exit, Failure> {
    known(&store(root)?, handle)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    // The switches are made if there never were any: without them nothing is lent.
    crate::switch::board(root).map_err(Failure::failed)?;
    let tested = runtime.block_on(async {
        let stream = identity::connect_or_start(root, Side::Orders)
            .await
            .map_err(Failure::failed)?;
        let identity = RemoteIdentity::over(stream)
            .await
            .map_err(Failure::failed)?;
        identity
            .test(handle.clone())
            .await
            .map_err(Failure::invalid)
    })?;
    if json {
        let line = serde_json::to_string(&tested).map_err(Failure::failed)?;
        report::print(format_args!("{line}\n"))?;
        return Ok(Exit::Success);
    }
    let until = tested.expires_at_ms.map_or_else(String::new, |at| {
        format!(", with a token until {}", crate::audit::time(at))
    });
    report::print(format_args!(
        "{handle} can be used (version {}{until})\n",
        tested.version
    ))?;
    Ok(Exit::Success)
}

/// Whoever may do this decides what sandboxes can reach in whose name: it raises an alert.
fn operation(what: &'static str, handle: &Handle, more: Value) -> Operation {
    let mut subject = json!({ "credential": handle });
    if let (Value::Object(subject), Value::Object(more)) = (&mut subject, more) {
        subject.extend(more);
    }
    Operation {
        what,
        reason: Reason::Allowed,
        detail: handle.to_string(),
        alert: true,
        subject,
    }
}
