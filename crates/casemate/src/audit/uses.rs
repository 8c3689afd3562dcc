//! `casemate audit uses`: which identity called which tool, with which scopes and credentials, under which policy.

use std::collections::{BTreeMap, VecDeque};

use casemate_identity::Handle;
use casemate_ledger::{Kind, Record, read};
use casemate_model::{DecisionId, Text};
use serde_json::{Map, Value, json};

use crate::{
    audit::{ledger, time},
    cli::UsesArgs,
    exit::Exit,
    report::{self, Delivery, Failure},
};

/// The tool of records that are about a request on its way out.
const REQUEST: &str = "egress.request";
/// The most calls that are looked at together.
const MAX_CALLS: usize = 10_000;

/// A call that was allowed, and what left with a credential.
struct Use {
    decision: DecisionId,
    at_ms: u64,
    agent: String,
    tenant: String,
    summary: Value,
    /// How many requests, by what was sent where.
    sent: BTreeMap<(String, String, String), u64>,
}

pub(super) fn run(args: &UsesArgs) -> Result<Exit, Failure> {
    let mut uses: VecDeque<Use> = VecDeque::new();
    for record in read(&ledger()?) {
        let record = record.map_err(Failure::failed)?;
        if record.entry.kind != Kind::Allowed {
            continue;
        }
        if text(&record.entry.summary, "tool") == Some(REQUEST) {
            note(&mut uses, &record);
            continue;
        }
        // What an operator does has no route.
        if text(&record.entry.summary, "route").is_some() && concerns(args, &record) {
            let most = match args.credential {
                None => args.count.clamp(1, MAX_CALLS),
                // Which of them used it is known later.
                Some(_) => MAX_CALLS,
            };
            if uses.len() >= most {
                uses.pop_front();
            }
            uses.push_back(Use::of(record));
        }
    }
    let wanted = |one: &Use| {
        args.credential
            .as_ref()
            .is_none_or(|handle| one.has(handle))
    };
    uses.retain(wanted);
    let skipped = uses.len().saturating_sub(args.count);
    for one in uses.iter().skip(skipped) {
        let delivery = match args.json {
            true => report::deliver(format_args!("{}\n", one.json()))?,
            false => report::deliver(format_args!("{}\n", one.lines()))?,
        };
        if delivery == Delivery::Unwanted {
            break;
        }
    }
    Ok(Exit::Success)
}

fn text<'v>(summary: &'v Value, name: &str) -> Option<&'v str> {
    summary.get(name).and_then(Value::as_str)
}

/// Whether a call is one of those that were asked about.
fn concerns(args: &UsesArgs, record: &Record) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
    };
    is(&args.agent, Some(&record.entry.agent))
        && is(&args.tool, text(&record.entry.summary, "tool"))
        && is(&args.actor, text(&record.entry.summary, "actor"))
}

/// Adds a request to the call that it belongs to.
fn note(uses: &mut VecDeque<Use>, record: &Record) {
    let summary = &record.entry.summary;
    let call = text(summary, "call").and_then(|call| call.parse::<DecisionId>().ok());
    let Some(credential) = text(summary, "credential") else {
        return;
    };
    let one = uses.iter_mut().rev().find(|one| Some(one.decision) == call);
    if let Some(one) = one {
        let word = |name: &str| text(summary, name).unwrap_or("-").to_owned();
        let key = (credential.to_owned(), word("host"), word("rule"));
        let count = one.sent.entry(key).or_default();
        *count = count.saturating_add(1);
    }
}

impl Use {
    fn of(record: Record) -> Self {
        let entry = record.entry;
        Self {
            decision: entry.decision,
            at_ms: entry.at_ms,
            agent: entry.agent,
            tenant: entry.tenant,
            summary: entry.summary,
            sent: BTreeMap::new(),
        }
    }

    fn has(&self, handle: &Handle) -> bool {
        self.sent.keys().any(|(credential, ..)| {
            credential
                .parse::<Handle>()
                .is_ok_and(|used| used == *handle)
        })
    }

    fn json(&self) -> Value {
        let sent = self.sent.iter().map(|((credential, host, rule), count)| {
            json!({ "credential": credential, "host": host, "rule": rule, "requests": count })
        });
        let mut all = Map::new();
        all.insert("decision".to_owned(), json!(self.decision));
        all.insert("at_ms".to_owned(), json!(self.at_ms));
        all.insert("agent".to_owned(), json!(self.agent));
        all.insert("tenant".to_owned(), json!(self.tenant));
        for name in [
            "actor",
            "issuer",
            "behalf",
            "scopes",
            "route",
            "tool",
            "side_effect",
            "policy",
            "reason",
        ] {
            if let Some(value) = self.summary.get(name) {
                all.insert(name.to_owned(), value.clone());
            }
        }
        all.insert("credentials".to_owned(), sent.collect());
        Value::Object(all)
    }

    /// What is of callers' making cannot drive a terminal.
    fn lines(&self) -> String {
        let word = |name: &str| Text::from(text(&self.summary, name).unwrap_or("-"));
        let scopes = self.summary.get("scopes").and_then(Value::as_array);
        let scopes: Vec<_> = scopes
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|scope| Text::from(scope).to_string())
            .collect();
        let mut lines = format!(
            "{} {} {} for agent {} of {} called {} over {} with {}, under {}",
            time(self.at_ms),
            self.decision,
            word("actor"),
            Text::from(self.agent.as_str()),
            Text::from(self.tenant.as_str()),
            word("tool"),
            word("route"),
            scopes.join(" "),
            word("policy"),
        );
        for ((credential, host, rule), count) in &self.sent {
            lines.push_str(&format!(
                "\n  {} to {}, {count} requests by the rule {}",
                Text::from(credential.as_str()),
                Text::from(host.as_str()),
                Text::from(rule.as_str())
            ));
        }
        lines
    }
}
