//! An approver's answer: shown, asked for, signed, and sent.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
};

use anyhow::anyhow;
use casemate_bundle::PolicyKey;
use casemate_gateway::{Clock as _, Member, Statement, Vote};
use serde_json::{Value, json};

use super::{
    case::{Case, fetch},
    view,
};
use crate::{
    client::{GatewayArgs, block_on},
    exit::Exit,
    report::{self, Failure},
    system::System,
};

/// Who answers, about what.
#[derive(Debug, clap::Args)]
pub(crate) struct Answering {
    #[command(flatten)]
    gateway: GatewayArgs,

    /// The calls
    #[arg(value_name = "DECISION", required = true)]
    decisions: Vec<String>,

    /// The private key of whoever answers
    #[arg(long, value_name = "FILE", env = "CASEMATE_APPROVER_KEY")]
    key: PathBuf,
}

/// What is said.
pub(super) struct Said {
    pub(super) vote: Vote,
    pub(super) reason: String,
    pub(super) at_ms: u64,
    pub(super) grant_ms: Option<u64>,
    pub(super) break_glass: bool,
    /// With a consent: how it is made sure that it is meant.
    pub(super) consent: Option<Consent>,
}

/// How it is made sure that a consent is meant.
pub(super) struct Consent {
    pub(super) full: bool,
    pub(super) actions: Vec<String>,
}

impl Said {
    pub(super) fn no(vote: Vote, reason: String, at_ms: u64) -> Self {
        Self {
            vote,
            reason,
            at_ms,
            grant_ms: None,
            break_glass: false,
            consent: None,
        }
    }
}

pub(super) fn answer(
    answering: &Answering,
    said: impl FnOnce(u64) -> Said,
) -> Result<Exit, Failure> {
    let said = said(System.now_ms());
    let key = PolicyKey::load(&answering.key).map_err(Failure::usage)?;
    block_on(async {
        let mut cases = Vec::new();
        for decision in &answering.decisions {
            cases.push(Case::check(fetch(&answering.gateway, decision).await?)?);
        }
        if let Some(consent) = &said.consent {
            make_sure(&cases, consent)?;
        }
        let members = cases.iter().map(|case| Member {
            decision: case.decision,
            action: case.action,
        });
        let statement = Statement {
            members: members.collect(),
            vote: said.vote,
            reason: said.reason,
            at_ms: said.at_ms,
            grant_ms: said.grant_ms,
            break_glass: said.break_glass,
        };
        let note = key.sign_note(&statement.text().map_err(Failure::usage)?);
        let mut refused = None;
        for case in &cases {
            let path = format!("/v1/approvals/{}/answer", case.decision);
            let body = json!({ "note": note });
            match answering.gateway.ask("POST", &path, Some(&body)).await {
                Ok(answer) => {
                    let state = answer.get("state").and_then(Value::as_str);
                    let state = state.unwrap_or_default();
                    report::print(format_args!("{} is {state}\n", case.decision))?;
                }
                Err(error) => {
                    error.report();
                    refused = Some(error);
                }
            }
        }
        match refused {
            None => Ok(Exit::Success),
            Some(_) => Ok(Exit::Refused),
        }
    })
}

/// Shows the calls, and has the approver say that these are meant.
fn make_sure(cases: &[Case], consent: &Consent) -> Result<(), Failure> {
    if !consent.actions.is_empty() {
        let given: Vec<_> = consent.actions.iter().map(String::as_str).collect();
        let found: Vec<_> = cases.iter().map(|case| case.action.to_string()).collect();
        return match given == found {
            true => Ok(()),
            false => Err(Failure::usage(anyhow!(
                "the calls have other hashes: {}",
                found.join(", ")
            ))),
        };
    }
    let mut hidden = 0;
    for case in cases {
        let (text, left) = view::whole(case, consent.full);
        hidden += left;
        report::write(format_args!("{text}\n"));
    }
    if hidden > 0 {
        return Err(Failure::usage(anyhow!(
            "{hidden} bytes were not shown, and nobody approves what they did not see"
        ))
        .hint("--full shows all of it"));
    }
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage(anyhow!("there is nobody at a terminal who could be asked"))
                .hint("--action HASH signs without asking, if the call has that hash"),
        );
    }
    // What was shown may have been long: once more, what it is about.
    for case in cases {
        let (call, action) = (&case.call, &case.action);
        let about = format!(
            "{} of {}, asked by {}, action hash {action}",
            call.tool, call.agent, call.user
        );
        report::write(format_args!(
            "{}: {}\n",
            case.decision,
            view::visible(&about)
        ));
    }
    // The digits are of what is shown: whoever clicks through does not have them.
    let digits: Vec<_> = cases
        .iter()
        .map(|case| {
            let hash = case.action.to_string();
            let hash = hash.trim_start_matches("sha256:");
            hash.get(..6).unwrap_or(hash).to_owned()
        })
        .collect();
    report::write(format_args!(
        "To approve, type the first 6 digits of {}: ",
        if cases.len() == 1 {
            "the action hash"
        } else {
            "each action hash, with spaces between them"
        }
    ));
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(Failure::failed)?;
    match line
        .split_whitespace()
        .eq(digits.iter().map(String::as_str))
    {
        true => Ok(()),
        false => Err(Failure::refused(anyhow!(
            "not approved: those are other digits"
        ))),
    }
}
