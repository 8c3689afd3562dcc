//! Whether something may be done with a session beside a call in it.

use casemate_model::{RunMode, SideEffect, Text};

use super::{CheckName, Decision, form::of_listed_type};
use crate::{
    claims::{Claims, Verified},
    engine::Engine,
    inputs::{Flaw, Inputs, Token, Wish},
    profile::Profile,
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
    /// Keep its files, and nothing else of it.
    PauseSession,
    /// Put them into a new sandbox.
    ResumeSession,
    /// Put its files into a new session too.
    CopySession,
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

impl Access<'static> {
    /// One of each kind.
    pub(crate) const KINDS: &'static [Self] = &[
        Self::OpenSession,
        Self::DestroySession,
        Self::PauseSession,
        Self::ResumeSession,
        Self::CopySession,
        Self::OpenContext,
        Self::CloseContext,
        Self::WriteFile(&NO_PATH),
        Self::ReadFile,
        Self::ListFiles,
        Self::RemoveFile,
        Self::Connect,
    ];
}

/// What stands for any path.
static NO_PATH: Text = Text::EMPTY;

impl Access<'_> {
    /// Whether somebody who may call `tool` may do it: contexts are interpreters of one tool, the rest is of use to any.
    pub(crate) fn is_for(self, tool: &str) -> bool {
        !matches!(self, Self::OpenContext) || tool == PYTHON
    }

    /// The word as it is recorded.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenSession => "session.open",
            Self::DestroySession => "session.destroy",
            Self::PauseSession => "session.pause",
            Self::ResumeSession => "session.resume",
            Self::CopySession => "session.copy",
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
    /// The route whose session it is.
    pub route: &'a str,
    /// The agent whose session it is.
    pub agent: &'a str,
    /// What is to be done.
    pub access: Access<'a>,
    /// Who asks.
    pub claims: &'a Verified<Claims>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// How much may happen without a person.
    pub mode: RunMode,
}

impl Engine {
    /// Decides whether something may be done with a session under a route's profile.
    ///
    /// Pure, as [`Engine::decide`]: the first question whose answer is no gives the reason.
    #[must_use]
    pub fn decide_access(&self, request: &AccessRequest<'_>) -> Decision {
        self.judge(&self.access_inputs(request))
    }

    /// What an access' decision is made from.
    #[must_use]
    pub fn access_inputs(&self, request: &AccessRequest<'_>) -> Inputs {
        let claims = request.claims.get();
        let profile = self.profile(request.route);
        Inputs {
            policy: self.digest(),
            route: request.route.to_owned(),
            wish: Wish::Access(request.access.as_str().to_owned()),
            side_effect: request.access.side_effect(),
            tenant: claims.tenant.clone(),
            user: claims.subject.clone(),
            agent: request.agent.to_owned(),
            token: Token::from(claims),
            delegated: claims.delegated(),
            mode: request.mode,
            now_ms: request.now_ms,
            idempotency_key: false,
            action_hash: None,
            destination: None,
            approval: None,
            labels: None,
            budget: None,
            isolation: None,
            flaw: profile.and_then(|profile| inputs(profile, request)),
        }
    }
}

/// A file that is brought into a session is an input of its calls.
fn inputs(profile: &Profile, request: &AccessRequest<'_>) -> Option<Flaw> {
    let Access::WriteFile(path) = request.access else {
        return None;
    };
    let refusal = of_listed_type(profile, &last_of(path)).err()?;
    Some(Flaw::new(CheckName::Inputs, refusal))
}

/// The last component of a path.
fn last_of(path: &Text) -> Text {
    let bytes = path.as_bytes();
    let last = bytes.rsplit(|byte| *byte == b'/').next();
    Text::from(last.unwrap_or(bytes).to_vec())
}
