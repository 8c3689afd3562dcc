//! One tool invocation, in the canonical form that is hashed, decided, approved and recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ContextId, Digest, Limits, SessionId, SideEffect, Text, words};

words! {
    /// What an interpreter of a session does with a cell of source.
    CellForm {
        /// The value of a last expression is a result, as in a notebook.
        Notebook = "notebook",
        /// It is dropped, as in a script.
        Script = "script",
    }
}

/// Where a call runs, when that is not a fresh sandbox of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// In whichever session this thread has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// In this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// In this stateful interpreter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextId>,
    /// In the stateful interpreter that the thread or session has as its own; it is started if there is none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub interpreter: bool,
}

/// What will run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The command and its arguments.
    pub argv: Vec<Text>,
    /// The source that an interpreter in `argv` runs, if there is one.
    pub code: Option<Digest>,
    /// How a session's interpreter runs `code`, in place of a program that is executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellForm>,
    /// Whether it runs on a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminal: bool,
    /// Every environment variable that the caller declared.
    pub env: BTreeMap<String, Text>,
    /// Every input file.
    pub inputs: Vec<InputDigest>,
}

/// An input file as the sandbox holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputDigest {
    /// Its name in `/workspace/in`.
    pub name: Text,
    /// Its size in bytes.
    pub bytes: u64,
    /// The digest of its content.
    pub sha256: Digest,
}

/// One tool invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Whose data and limits it touches.
    pub tenant: String,
    /// On whose behalf.
    pub user: String,
    /// The agent that asks.
    pub agent: String,
    /// The route it came in by.
    pub route: String,
    /// The tool.
    pub tool: String,
    /// What the tool does to the world.
    pub side_effect: SideEffect,
    /// Where it would send something, if anywhere.
    pub destination: Option<String>,
    /// Repeats of this key are this call.
    pub idempotency_key: Option<String>,
    /// Where it runs, if not in a fresh sandbox of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// What will run.
    pub program: Program,
    /// What it may use.
    pub limits: Limits,
    /// The profile under which it was proposed.
    pub policy: Digest,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Call {
    /// The canonical bytes: RFC 8785 (JCS) of the JSON form.
    ///
    /// # Errors
    /// Only if serialisation fails, which a value of this type does not cause.
    pub fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json_canonicalizer::to_vec(self)
    }

    /// The SHA-256 of [`Call::canonical`]: what an approval and an idempotency key are bound to.
    ///
    /// # Errors
    /// As [`Call::canonical`].
    pub fn action_hash(&self) -> Result<Digest, serde_json::Error> {
        self.canonical().map(|bytes| Digest::of(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            tenant: "local".into(),
            user: "uid:1000".into(),
            agent: "cli".into(),
            route: "run".into(),
            tool: "python".into(),
            side_effect: SideEffect::Draft,
            destination: None,
            idempotency_key: Some("k".into()),
            within: None,
            program: Program {
                argv: vec!["python3".into(), Text::from(vec![0xff])],
                code: Some(Digest::of(b"print(1)")),
                cell: None,
                terminal: false,
                env: BTreeMap::from([("A".into(), "1".into())]),
                inputs: vec![InputDigest {
                    name: "data.csv".into(),
                    bytes: 3,
                    sha256: Digest::of(b"a,b"),
                }],
            },
            limits: Limits::default(),
            policy: Digest::of(b"profile"),
        }
    }

    /// Anything that changes what runs, under which rules, or for whom, changes the hash.
    #[test]
    fn the_action_hash_binds_every_field() {
        let base = call().action_hash().unwrap();
        assert_eq!(call().action_hash().unwrap(), base, "deterministic");
        let changes: [fn(&mut Call); 18] = [
            |call| call.tenant.push('x'),
            |call| call.user.push('x'),
            |call| call.agent.push('x'),
            |call| call.route.push('x'),
            |call| call.tool.push('x'),
            |call| call.side_effect = SideEffect::Write,
            |call| call.destination = Some("api.example.com".into()),
            |call| call.idempotency_key = None,
            |call| call.program.argv.push("-v".into()),
            |call| call.program.env.clear(),
            |call| call.limits.wall_ms += 1,
            |call| call.policy = Digest::of(b"other"),
            |call| within(call).thread = Some("t".into()),
            |call| within(call).session = Some(SessionId::new(1, [0; 10])),
            |call| within(call).context = Some(ContextId::new(1, [0; 10])),
            |call| within(call).interpreter = true,
            |call| call.program.cell = Some(CellForm::Notebook),
            |call| call.program.terminal = true,
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut changed = call();
            change(&mut changed);
            assert_ne!(changed.action_hash().unwrap(), base, "change {index}");
        }
    }

    fn within(call: &mut Call) -> &mut Within {
        call.within.get_or_insert_default()
    }

    /// A call in a fresh sandbox is written as it was before there were sessions: old approvals, keys and
    /// records still mean it.
    #[test]
    fn a_call_without_a_session_is_written_as_before() {
        let json = String::from_utf8(call().canonical().unwrap()).unwrap();
        for word in ["within", "cell", "terminal"] {
            assert!(!json.contains(word), "{json}");
        }
    }

    #[test]
    fn the_canonical_form_reads_back_and_is_sorted() {
        let bytes = call().canonical().unwrap();
        assert_eq!(serde_json::from_slice::<Call>(&bytes).unwrap(), call());
        assert!(bytes.starts_with(br#"{"agent":"cli","destination":null"#));
    }
}
