//! Whether something may be done with a session beside a call in it.

use casemate_model::{Reason, RunMode, SideEffect, Text};

use super::{
    Answer, CheckName, Decision, call::of_listed_type, caller, first_no, refuse, right::may_call,
};
use crate::{
    claims::{Claims, Verified},
    profile::Profile,
    visible::quoted,
};

/// The tool whose interpreters contexts are.
const PYTHON: &str = "python";

/// What is to be done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// Open it.
    OpenSession,
    /// Destroy it.
    DestroySession,
    /// Start a stateful interpreter in it.
    OpenContext,
    /// End one.
    CloseContext,
    /// Write the file at this path.
    WriteFile(&'a Text),
    /// Read a file.
    ReadFile,
    /// List a directory.
    ListFiles,
    /// Remove a file.
    RemoveFile,
    /// Connect to a port on which one of its programs listens.
    Connect,
}

impl Access<'_> {
    /// The word as it is recorded.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenSession => "session.open",
            Self::DestroySession => "session.destroy",
            Self::OpenContext => "context.open",
            Self::CloseContext => "context.close",
            Self::WriteFile(_) => "file.write",
            Self::ReadFile => "file.read",
            Self::ListFiles => "file.list",
            Self::RemoveFile => "file.remove",
            Self::Connect => "port.connect",
        }
    }

    /// What it does to the world: nothing leaves the sandbox but what is read.
    #[must_use]
    pub const fn side_effect(self) -> SideEffect {
        match self {
            Self::ReadFile | Self::ListFiles => SideEffect::Read,
            _ => SideEffect::Draft,
        }
    }
}

/// An access, and everything that its decision depends on beside the profile.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// What is to be done.
    pub access: Access<'a>,
    /// Who asks.
    pub claims: &'a Verified<Claims>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// How much may happen without a person.
    pub mode: RunMode,
}

type Question = fn(&Profile, &AccessRequest<'_>) -> Answer;

/// The order is that of [`CheckName::ALL`]; what only a program has is not asked.
const QUESTIONS: &[(CheckName, Question)] = &[
    (CheckName::Issuer, |profile, request| {
        caller::known_issuer(profile, request.claims.get())
    }),
    (CheckName::Inputs, inputs),
    (CheckName::Expiry, |_, request| {
        caller::unexpired(request.claims.get(), request.now_ms)
    }),
    (CheckName::Audience, |profile, request| {
        caller::for_audience(profile, request.claims.get())
    }),
    (CheckName::Tenant, |profile, request| {
        caller::of_tenant(profile, request.claims.get())
    }),
    (CheckName::Scope, scope),
    (CheckName::Mode, mode),
];

/// Decides whether something may be done with a session under its profile.
///
/// Pure, as [`decide`](super::decide): the first question whose answer is no gives the reason.
#[must_use]
pub fn decide_access(profile: &Profile, request: &AccessRequest<'_>) -> Decision {
    let answers = QUESTIONS
        .iter()
        .map(|(name, question)| (*name, question(profile, request)));
    let allowed = || {
        format!(
            "`{}` may be done on route {}",
            request.access.as_str(),
            quoted(&profile.route)
        )
    };
    first_no(answers, allowed)
}

/// A file that is brought into a session is an input of its calls.
fn inputs(profile: &Profile, request: &AccessRequest<'_>) -> Answer {
    match request.access {
        Access::WriteFile(path) => of_listed_type(profile, &last_of(path)),
        _ => Ok(()),
    }
}

/// The last component of a path.
fn last_of(path: &Text) -> Text {
    let bytes = path.as_bytes();
    let last = bytes.rsplit(|byte| *byte == b'/').next();
    Text::from(last.unwrap_or(bytes).to_vec())
}

/// Whoever could call nothing in a session has nothing to do there.
fn scope(profile: &Profile, request: &AccessRequest<'_>) -> Answer {
    let claims = request.claims.get();
    if request.access == Access::OpenContext {
        return may_call(profile, PYTHON, claims);
    }
    let tools = &profile.tools;
    let mut first = None;
    for tool in tools.allowed.iter().chain(&tools.approval_required) {
        match may_call(profile, tool, claims) {
            Ok(()) => return Ok(()),
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    match first {
        Some(refusal) => Err(refusal),
        None => refuse(
            Reason::MissingScope,
            format!("route {} has no tools", quoted(&profile.route)),
        ),
    }
}

fn mode(_: &Profile, request: &AccessRequest<'_>) -> Answer {
    if request.mode != RunMode::ReadOnly || request.access.side_effect() == SideEffect::Read {
        return Ok(());
    }
    refuse(
        Reason::MissingScope,
        format!(
            "the run mode is `{}`, and `{}` changes something",
            request.mode,
            request.access.as_str()
        ),
    )
}
