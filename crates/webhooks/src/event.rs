//! What is told of a record.

use casemate_ledger::{Kind, Record};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::Topic;

/// A message: its name, its body and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, the same each time that it is sent.
    pub id: String,
    /// What it is about.
    pub topic: Topic,
    /// What is sent: JSON.
    pub body: String,
    /// What it has to be the same in for two alerts to be one with a count; nothing, if each is told by itself.
    cause: Option<String>,
    /// How many records it tells of.
    count: u64,
    message: Value,
}

/// The members of a record's summary that are told, if it has them: names, and the words of closed lists.
const TOLD: [&str; 3] = ["tool", "route", "reason"];

impl Event {
    /// What is to be told of a record, if anything.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        let entry = &record.entry;
        let topic = topic(entry.kind, &entry.summary)?;
        let mut data = Map::new();
        let mut tell = |name: &str, value: Value| drop(data.insert(name.to_owned(), value));
        tell("decision", json!(entry.decision));
        tell("tenant", json!(entry.tenant));
        tell("agent", json!(entry.agent));
        for name in TOLD {
            if let Some(word) = entry.summary.get(name).filter(|word| word.is_string()) {
                tell(name, word.clone());
            }
        }
        if let Some(violations) = violations(&entry.summary) {
            tell("violations", violations.clone());
        }
        if let Some(Value::Object(wait)) = entry.summary.get("wait") {
            for name in ["action", "until_ms", "trigger"] {
                if let Some(value) = wait.get(name) {
                    tell(name, value.clone());
                }
            }
        }
        let at = i64::try_from(entry.at_ms).unwrap_or(i64::MAX);
        let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX);
        let cause = violations(&entry.summary).map(|violations| {
            let what = violations.as_array().into_iter().flatten();
            let what = what.map(|one| json!([one.get("kind"), one.get("what")]));
            json!([entry.tenant, entry.agent, what.collect::<Vec<_>>()]).to_string()
        });
        let message = json!({
            "type": topic.as_str(),
            "timestamp": at.to_string(),
            "data": data,
        });
        Some(Self {
            id: format!("{}_{}", entry.decision, record.index),
            topic,
            body: message.to_string(),
            cause,
            count: 1,
            message,
        })
    }

    /// Takes in an event that comes after this one, if both are alerts of one cause. The name becomes that of the newer one:
    /// whoever has the older one already is to hear that there were more.
    pub(crate) fn take_in(&mut self, newer: &Self) -> bool {
        let same = self.topic == newer.topic && self.cause.is_some() && self.cause == newer.cause;
        if same {
            self.count += 1;
            self.id.clone_from(&newer.id);
            self.message.clone_from(&newer.message);
            if let Some(Value::Object(data)) = self.message.get_mut("data") {
                data.insert("count".to_owned(), self.count.into());
            }
            self.body = self.message.to_string();
        }
        same
    }
}

fn topic(kind: Kind, summary: &Value) -> Option<Topic> {
    let waited = summary.get("wait").is_some_and(Value::is_object);
    let alerts = summary.get("alert") == Some(&Value::Bool(true));
    match kind {
        Kind::Held => Some(Topic::Waiting),
        Kind::Allowed | Kind::Denied if waited => Some(Topic::Ended),
        // What a program did is known when it has ended.
        Kind::Outcome if alerts && violations(summary).is_some() => Some(Topic::Alert),
        // Not again when it is closed.
        Kind::Allowed | Kind::Denied | Kind::Event if alerts => Some(Topic::Alert),
        _ => None,
    }
}

/// What a program did that no ordinary program does: kinds, names of closed lists, and counts.
fn violations(summary: &Value) -> Option<&Value> {
    let violations = summary.get("violations")?;
    violations
        .as_array()
        .is_some_and(|list| !list.is_empty())
        .then_some(violations)
}
