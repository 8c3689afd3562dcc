//! A call that waits, as it is kept: everything that it takes to run it later, sealed.

use std::{collections::BTreeMap, fs::File, io, os::unix::fs::FileExt as _};

use casemate_authority::Epoch;
use casemate_model::{Call, DecisionId, Limits, Reason, RunMode, Text, Trigger, Within};
use casemate_policy::{Authenticator, Check, Claims, Decision, Token, Verdict};
use casemate_ports::{Cell, Command, Echo, InputFile, TerminalSize};
use casemate_store::ApprovalRecord;
use serde::{Deserialize, Serialize};

use crate::{Ask, Code, Demand, Facts, Key, Terms, Wait, limits::MAX_KEPT_INPUT_BYTES};

/// A call that waits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) at_ms: u64,
    pub(crate) trace_id: String,
    pub(crate) route: String,
    /// What its profile says of records.
    terms: Terms,
    pub(crate) mode: RunMode,
    pub(crate) trigger: Trigger,
    /// When it began, by the switches.
    pub(crate) epoch: u64,
    /// Who asked.
    pub(crate) token: Token,
    pub(crate) by: Authenticator,
    /// The canonical call: what its action hash is of.
    pub(crate) call: Call,
    /// Why it waits, for people.
    pub(crate) detail: String,
    pub(crate) checks: Vec<Check>,
    pub(crate) policies: Vec<String>,
    agent: String,
    tool: String,
    argv: Vec<Text>,
    env: BTreeMap<String, Text>,
    cell: Option<Echo>,
    terminal: Option<TerminalSize>,
    pub(crate) code: Option<KeptCode>,
    limits: Limits,
    within: Option<Within>,
    destination: Option<String>,
    key: Key,
    pub(crate) files: Vec<KeptFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptCode {
    input: Option<Text>,
    pub(crate) source: Text,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptFile {
    pub(crate) name: Text,
    pub(crate) content: Text,
}

/// The input files of a call, read when it turns out that it has to wait.
pub(crate) struct Originals(Vec<(Text, File)>);

impl Originals {
    /// Holds on to the files.
    pub(crate) fn of(inputs: &[InputFile]) -> io::Result<Self> {
        let held = |input: &InputFile| Ok((input.name.clone(), input.file.try_clone()?));
        inputs.iter().map(held).collect::<io::Result<_>>().map(Self)
    }

    fn read(&self, most: usize) -> io::Result<Vec<KeptFile>> {
        let mut left = most;
        let read = |(name, file): &(Text, File)| {
            // Whoever reads the other descriptor moves the offset of both.
            let mut content = Vec::new();
            loop {
                let start = content.len();
                content.resize(start + 64 * 1024, 0);
                let read =
                    file.read_at(content.get_mut(start..).unwrap_or_default(), start as u64)?;
                content.truncate(start + read);
                if content.len() > left {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                if read == 0 {
                    break;
                }
            }
            left -= content.len();
            let name = name.clone();
            let content = content.into();
            Ok(KeptFile { name, content })
        };
        self.0.iter().map(read).collect()
    }
}

/// What it takes to keep a call, beside what is known of it when it is held.
pub(crate) struct ToKeep {
    pub(crate) originals: Originals,
    pub(crate) demand: Demand,
    /// When it began, by the switches.
    pub(crate) since: Epoch,
    pub(crate) by: Authenticator,
}

impl Kept {
    /// What is to be kept of a call that is held; nothing of one that was not decided.
    pub(crate) fn new(facts: &Facts, keep: &ToKeep) -> io::Result<Option<Self>> {
        let (Some(call), Some(claims), Some(terms), Some(mode), Some(ruling)) = (
            &facts.call,
            &facts.claims,
            &facts.terms,
            facts.mode,
            &facts.ruling,
        ) else {
            return Ok(None);
        };
        let ask = &facts.ask;
        Ok(Some(Self {
            at_ms: facts.at_ms,
            trace_id: facts.trace_id.clone(),
            route: terms.route.clone(),
            terms: terms.clone(),
            mode,
            trigger: keep.demand.trigger,
            epoch: keep.since.get(),
            token: Token::from(claims),
            by: keep.by,
            call: call.clone(),
            detail: ruling.detail.clone(),
            checks: ruling.checks.clone(),
            policies: ruling.policies.clone(),
            agent: ask.agent.clone(),
            tool: ask.tool.clone(),
            argv: ask.command.argv.clone(),
            env: ask.command.env.clone(),
            cell: ask.command.cell.as_ref().map(|cell| cell.echo),
            terminal: ask.command.terminal,
            code: ask.code.as_ref().map(|code| KeptCode {
                input: code.input.clone(),
                source: code.source.clone().into(),
            }),
            limits: ask.limits,
            within: ask.within.clone(),
            destination: ask.destination.clone(),
            key: ask.key.clone(),
            files: keep.originals.read(MAX_KEPT_INPUT_BYTES)?,
        }))
    }

    /// What is told of its wait.
    pub(crate) const fn wait(&self, record: &ApprovalRecord) -> Wait {
        Wait {
            action: record.action,
            until_ms: record.expires_at_ms,
            trigger: self.trigger,
        }
    }

    /// What is known of the call, to record that it does not run.
    pub(crate) fn into_facts(self, decision: DecisionId, wait: Wait) -> Option<Box<Facts>> {
        let claims = Claims::from(&self.token);
        let terms = self.terms.clone();
        let (at_ms, trace_id, mode) = (self.at_ms, self.trace_id.clone(), self.mode);
        let (call, checks, policies) = (
            self.call.clone(),
            self.checks.clone(),
            self.policies.clone(),
        );
        let files = self.files.iter().map(|file| file.name.clone()).collect();
        let (ask, _) = self.into_ask().ok()?;
        Some(Box::new(Facts {
            decision,
            at_ms,
            trace_id,
            ask,
            files,
            claims: Some(claims),
            terms: Some(terms),
            side_effect: Some(call.side_effect),
            isolation: None,
            call: Some(call),
            action_hash: Some(wait.action),
            mode: Some(mode),
            inputs: None,
            ruling: Some(Decision {
                verdict: Verdict::Hold,
                reason: Reason::ApprovalRequired,
                detail: String::new(),
                checks,
                policies,
            }),
            wait: Some(wait),
            approval: None,
            lodging: None,
            quota: None,
            scan: None,
            replay_of: None,
        }))
    }

    /// The call as it was asked for.
    pub(crate) fn into_ask(self) -> io::Result<(Ask, Vec<InputFile>)> {
        let source = |code: &KeptCode| code.source.as_bytes().to_vec();
        let cell = self.cell.zip(self.code.as_ref());
        let inputs = self
            .files
            .iter()
            .map(|file| InputFile::in_memory(file.name.clone(), file.content.as_bytes()));
        let inputs = inputs.collect::<io::Result<_>>()?;
        let ask = Ask {
            agent: self.agent,
            tool: self.tool,
            command: Command {
                argv: self.argv,
                env: self.env,
                cell: cell.map(|(echo, code)| Cell {
                    source: source(code),
                    echo,
                }),
                terminal: self.terminal,
            },
            code: self.code.as_ref().map(|code| Code {
                input: code.input.clone(),
                source: source(code),
            }),
            limits: self.limits,
            within: self.within,
            destination: self.destination,
            key: self.key,
            trace_id: Some(self.trace_id),
        };
        Ok((ask, inputs))
    }
}
