//! `casemate approvals`: calls that wait for a person, for that person.

mod answer;
mod case;
mod people;
mod view;

use std::path::PathBuf;

use clap::Subcommand;

pub(crate) use self::people::People;
use self::{
    answer::{Answering, answer},
    case::{Case, fetch},
};
use crate::{
    client::{Events, GatewayArgs, block_on, encoded, print, request},
    exit::Exit,
    policy,
    report::{self, Failure},
    serve::new_webhook_key,
};

/// What to do with calls that wait for approval.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// List calls that wait for approval, or waited
    List {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// Only those in this state, such as `denied`; those that wait if there is none
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Those in every state
        #[arg(long, conflicts_with = "state")]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a call exactly as it would run, after checking that its hash is of what is shown
    Show {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// The call
        #[arg(value_name = "DECISION")]
        decision: String,
        /// Show all of it, however long it is
        #[arg(long)]
        full: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let calls run, each once, exactly as shown
    Approve {
        #[command(flatten)]
        answering: Answering,
        /// Show all of each call, however long it is
        #[arg(long)]
        full: bool,
        /// Sign without being asked, if the call has this hash; once for each call, in their order
        #[arg(long = "action", value_name = "HASH")]
        actions: Vec<String>,
        /// How long this counts at most, in seconds, if the call cannot run at once
        #[arg(long, value_name = "SECONDS")]
        valid: Option<u64>,
        /// Why, if there is something to say
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Do without the consent of others, which takes the role `break-glass` and a reason, and raises an alert
        #[arg(long)]
        break_glass: bool,
    },
    /// Refuse calls; the agent is told why
    Deny {
        #[command(flatten)]
        answering: Answering,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Refuse calls, and say what would have to be different
    RequestChanges {
        #[command(flatten)]
        answering: Answering,
        /// What
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take back a call that waits
    Cancel {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// The call
        #[arg(value_name = "DECISION")]
        decision: String,
    },
    /// Print the calls that wait, now and whenever that changes
    Watch {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List who may approve calls
    People,
    /// Make a key for somebody who approves calls; prints its public form
    NewKey {
        /// Where
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Whose
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Make a key for a service that approves calls, or for messages of `serve --webhooks`; prints its public form
    NewWebhookKey {
        /// Where
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Let somebody approve calls, by a key of each kind: for notes, a passkey, or of a service
    Enlist {
        /// Who, as callers are named: such as `uid:1000`
        #[arg(value_name = "USER")]
        user: String,
        /// Their public key: as `new-key` prints it, `passkey:…` as the page of approvals shows it, or `whpk_…`
        #[arg(value_name = "KEY")]
        key: String,
        /// What for; can be repeated
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Let somebody approve calls no longer, by any of their keys
    Dismiss {
        /// Who
        #[arg(value_name = "USER")]
        user: String,
    },
}

pub(crate) fn run(command: ApprovalsCommand) -> Result<Exit, Failure> {
    match command {
        ApprovalsCommand::List {
            gateway,
            state,
            all,
            json,
        } => list(&gateway, state.as_deref(), all, json),
        ApprovalsCommand::Show {
            gateway,
            decision,
            full,
            json,
        } => show(&gateway, &decision, full, json),
        ApprovalsCommand::Approve {
            answering,
            full,
            actions,
            valid,
            reason,
            break_glass,
        } => answer(&answering, |now_ms| answer::Said {
            vote: casemate_gateway::Vote::Approve,
            reason,
            at_ms: now_ms,
            grant_ms: valid.map(|seconds| seconds.saturating_mul(1_000)),
            break_glass,
            consent: Some(answer::Consent { full, actions }),
        }),
        ApprovalsCommand::Deny { answering, reason } => answer(&answering, |now_ms| {
            answer::Said::no(casemate_gateway::Vote::Deny, reason, now_ms)
        }),
        ApprovalsCommand::RequestChanges { answering, reason } => answer(&answering, |now_ms| {
            answer::Said::no(casemate_gateway::Vote::RequestChanges, reason, now_ms)
        }),
        ApprovalsCommand::Cancel { gateway, decision } => block_on(async {
            let path = format!("/v1/approvals/{}/cancel", case::checked(&decision)?);
            print(&gateway.ask("POST", &path, None).await?)
        }),
        ApprovalsCommand::Watch { gateway, json } => watch(&gateway, json),
        ApprovalsCommand::People => people::list(),
        ApprovalsCommand::NewKey { file, name } => policy::new_key(&file, &name),
        ApprovalsCommand::NewWebhookKey { file } => new_webhook_key(&file),
        ApprovalsCommand::Enlist { user, key, roles } => people::enlist(&user, &key, roles),
        ApprovalsCommand::Dismiss { user } => people::dismiss(&user),
    }
}

fn list(
    gateway: &GatewayArgs,
    state: Option<&str>,
    all: bool,
    json: bool,
) -> Result<Exit, Failure> {
    let path = match state {
        Some(state) => format!("/v1/approvals?state={}", encoded(state)),
        None if all => "/v1/approvals".to_owned(),
        None => "/v1/approvals?state=pending".to_owned(),
    };
    block_on(async {
        let found = gateway.ask("GET", &path, None).await?;
        if json {
            return print(&found);
        }
        report::print(format_args!("{}", view::table(&found)))?;
        Ok(Exit::Success)
    })
}

fn show(gateway: &GatewayArgs, decision: &str, full: bool, json: bool) -> Result<Exit, Failure> {
    block_on(async {
        let answer = fetch(gateway, decision).await?;
        if json {
            return print(&answer);
        }
        let case = Case::look(answer)?;
        let (text, _) = view::whole(&case, full);
        report::print(format_args!("{text}"))?;
        Ok(Exit::Success)
    })
}

/// Prints what waits, whenever it changes.
fn watch(gateway: &GatewayArgs, json: bool) -> Result<Exit, Failure> {
    block_on(async {
        let response = gateway
            .send(request("GET", "/v1/approvals/events", None)?)
            .await?;
        let mut events = Events::of(response);
        while let Some(event) = events.next().await? {
            let waiting = event.data;
            let delivered = match json {
                true => report::deliver(format_args!("{waiting}\n"))?,
                false => report::deliver(format_args!("{}\n", view::table(&waiting)))?,
            };
            if delivered == report::Delivery::Unwanted {
                return Ok(Exit::Success);
            }
        }
        Err(Failure::failed(anyhow::anyhow!("the gateway went away")))
    })
}
