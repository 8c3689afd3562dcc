//! What is judged, and what comes of it.

use casemate_model::{DestinationClass, Digest, SideEffect, words};

use super::{EgressRule, Familiarity, Scheme};

/// One request, as it would be sent.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'r> {
    /// The tool that sends it.
    pub tool: &'r str,
    /// The most that the tool does.
    pub ceiling: SideEffect,
    /// Whether others can read it.
    pub scheme: Scheme,
    /// The host, for which the connection, its TLS name and its head agree.
    pub host: &'r str,
    /// The port.
    pub port: u16,
    /// The method.
    pub method: &'r str,
    /// The path, as it would be sent.
    pub path: &'r str,
    /// The query, without its `?`.
    pub query: Option<&'r str>,
    /// The headers, as they would be sent, without what is put in.
    pub headers: &'r [(&'r str, &'r [u8])],
    /// The body.
    pub body: RequestBody<'r>,
    /// Whether it wants to become a WebSocket.
    pub websocket: bool,
    /// Whether the agent has been there before.
    pub destination: Familiarity,
}

/// One destination, before anything is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct DestinationFacts<'r> {
    /// The tool that connects.
    pub tool: &'r str,
    /// Whether others can read what is sent.
    pub scheme: Scheme,
    /// The host.
    pub host: &'r str,
    /// The port.
    pub port: u16,
}

/// One login, as it would be sent: what comes after it is not judged.
#[derive(Clone, Copy, Debug)]
pub struct LoginFacts<'r> {
    /// Who logs in where.
    pub destination: DestinationFacts<'r>,
    /// The most that the tool does.
    pub ceiling: SideEffect,
    /// As whom.
    pub user: &'r str,
    /// To which database.
    pub database: &'r str,
}

/// The body of a request.
#[derive(Clone, Copy, Debug)]
pub enum RequestBody<'r> {
    /// None.
    Empty,
    /// All of it.
    Whole {
        /// Its bytes.
        bytes: &'r [u8],
        /// Their digest, to which an approval is bound.
        digest: Digest,
    },
    /// It is sent while it is made, or is too large to be kept.
    Stream {
        /// How long it says that it is.
        bytes: Option<u64>,
    },
}

impl RequestBody<'_> {
    /// How long it is, if that is certain.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Whole { bytes, .. } => Some(bytes.len() as u64),
            Self::Stream { bytes } => *bytes,
        }
    }
}

words! {
    /// What becomes of a request, least first.
    RequestVerdict {
        /// It is not sent.
        Deny = "deny",
        /// It waits for a person.
        Hold = "hold",
        /// It is sent.
        Allow = "allow",
    }
}

words! {
    /// Why a request is not sent, or not at once. Of several rules, the one that got furthest says it.
    EgressCode {
        /// The host is not spelled as hosts are.
        HostSyntax = "host_syntax",
        /// The path can be read in more than one way.
        PathSyntax = "path_syntax",
        /// No rule is for the host, or none for this tool.
        NotAllowed = "not_allowed",
        /// A rule denies it.
        RuleDenies = "rule_denies",
        /// Nobody said whom the host belongs to.
        ClassUnknown = "class_unknown",
        /// Strangers have places on the host, and it is not one that is meant.
        TenantPin = "tenant_pin",
        /// The port is another.
        PortRefused = "port_refused",
        /// Others could read it.
        PlaintextDenied = "plaintext_denied",
        /// The method is another, or not the only one that it says.
        MethodRefused = "method_refused",
        /// The path is another.
        PathRefused = "path_refused",
        /// It is not what the credential is for, or brings one of its own.
        CredScope = "cred_scope",
        /// The user or the database of a login is another.
        LoginRefused = "login_refused",
        /// The query is longer, or has other names.
        QueryRefused = "query_refused",
        /// A header is missing, is there twice or says something else.
        HeaderRefused = "header_refused",
        /// It wants to become a WebSocket.
        WebSocketRefused = "websocket_refused",
        /// It does more than the tool does.
        SideEffect = "side_effect",
        /// It has a body, and such a request has none.
        BodyRefused = "body_refused",
        /// The body is larger than any may be.
        BodyTooLarge = "body_too_large",
        /// The body would have to be there as a whole.
        BodyStreamed = "body_streamed",
        /// The body can be read in more than one way, or not as what it has to be.
        BodyUnreadable = "body_unreadable",
        /// The body says something else.
        BodyCondition = "body_condition",
        /// So much is an export.
        Export = "export",
        /// The destination is new.
        NewDestination = "new_destination",
        /// A person has to approve it.
        ApprovalRequired = "approval_required",
    }
}

/// What becomes of a request, and why.
#[derive(Clone, Debug)]
pub struct Ruling<'p> {
    /// What becomes of it.
    pub verdict: RequestVerdict,
    /// Why it is not sent at once.
    pub code: Option<EgressCode>,
    /// The rule that says so, or got furthest. It also says which credential is put in, in which networks the address has to be, and what a call may spend.
    pub rule: Option<&'p EgressRule>,
    /// Whose place it means, on a host where strangers have some too.
    pub tenant: Option<String>,
    /// How much of a body may be sent.
    pub most_body_bytes: u64,
}

impl Ruling<'_> {
    /// Whom the destination belongs to.
    #[must_use]
    pub fn class(&self) -> DestinationClass {
        self.rule
            .map_or(DestinationClass::Unknown, |rule| rule.class)
    }

    /// What the request does: the worst, if no rule says it.
    #[must_use]
    pub fn side_effect(&self) -> SideEffect {
        self.rule
            .map_or(SideEffect::ExternalSend, |rule| rule.side_effect)
    }
}
