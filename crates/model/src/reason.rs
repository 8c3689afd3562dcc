//! Why a call was allowed, held or refused.

use crate::words;

words! {
    /// A closed set of machine-readable reasons. The seeds' names (seed 002) stay.
    Reason {
        /// Every check passed.
        Allowed = "allowed",
        /// An operator switched this kind of call off.
        KillSwitch = "kill_switch",
        /// The caller's issuer is not one the profile accepts.
        UntrustedIssuer = "untrusted_issuer",
        /// The call does not fit its tool's schema, or breaks a limit.
        InvalidCall = "invalid_call",
        /// The profile could not be read or is not valid.
        InvalidProfile = "invalid_profile",
        /// The caller's token has expired.
        ExpiredToken = "expired_token",
        /// The caller's token is for another service.
        WrongAudience = "wrong_audience",
        /// The caller's tenant is not the call's, or not allowed here.
        TenantBoundary = "tenant_boundary",
        /// The tool is not allowed on this route, or the caller lacks its scope.
        MissingScope = "missing_scope",
        /// A call with a side effect came without an idempotency key.
        MissingIdempotencyKey = "missing_idempotency_key",
        /// The idempotency key was used for another call.
        IdempotencyConflict = "idempotency_conflict",
        /// The idempotency key belongs to a call that has not ended.
        CallInFlight = "call_in_flight",
        /// An earlier call under this key ended in an unknown state: look before running it again.
        OutcomeUnknown = "outcome_unknown",
        /// The destination is not allowed.
        EgressDenied = "egress_denied",
        /// The source does, or could do, what the profile forbids.
        ScanFinding = "scan_finding",
        /// A secret was offered to a sandbox.
        SecretInEnvironment = "secret_in_environment",
        /// The host cannot enforce what the profile demands.
        IsolationUnavailable = "isolation_unavailable",
        /// A policy of the bundle forbids it.
        PolicyForbids = "policy_forbids",
        /// A policy could not be evaluated, so nothing is allowed.
        PolicyError = "policy_error",
        /// A check that has to pass before the route runs code did not.
        GateClosed = "gate_closed",
        /// The tool needs a stronger tier than the profile's.
        TierExceeded = "tier_exceeded",
        /// Something private might leave that something untrusted asked for.
        InformationFlow = "information_flow",
        /// A budget is used up.
        BudgetExhausted = "budget_exhausted",
        /// The same call has failed the same way too often in this thread.
        LoopDetected = "loop_detected",
        /// More was asked for than the profile's limits give.
        LimitExceeded = "limit_exceeded",
        /// There is no such session, or it is somebody else's.
        SessionUnknown = "session_unknown",
        /// The session is over, and its files are gone.
        SessionGone = "session_gone",
        /// The session is paused: its files are kept, and nothing runs in it.
        SessionPaused = "session_paused",
        /// Something goes on in the session, and what was asked for must be alone there.
        SessionBusy = "session_busy",
        /// There is no such context in the session, or its interpreter died.
        ContextUnknown = "context_unknown",
        /// The context is of another language than the call.
        ContextMismatch = "context_mismatch",
        /// A quota of the session, agent or tenant is used up.
        QuotaExceeded = "quota_exceeded",
        /// The host has more calls waiting than it takes.
        Overloaded = "overloaded",
        /// A person has to approve this call first.
        ApprovalRequired = "approval_required",
        /// The approval was for another call, is too old, or came from the requester.
        ApprovalInvalid = "approval_invalid",
        /// An approver said no.
        ApprovalDenied = "approval_denied",
        /// An approver wants another call in its place.
        ChangesRequested = "changes_requested",
        /// Nobody answered in time: that is no denial by a person.
        ApprovalExpired = "approval_expired",
        /// The call was taken back before it ran.
        ApprovalCancelled = "approval_cancelled",
        /// The decision could not be recorded, so nothing ran.
        RecordUnavailable = "record_unavailable",
    }
}

impl Reason {
    /// What the person or agent who got this reason can do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Allowed => "nothing to do",
            Self::KillSwitch => "ask an operator to switch it on again",
            Self::UntrustedIssuer => "add the issuer to identity.allowed_issuers of the profile",
            Self::InvalidCall => "correct the call as the message says",
            Self::InvalidProfile => "run `casemate profile check FILE`",
            Self::ExpiredToken => "get a new token",
            Self::WrongAudience => "use a token for the profile's identity.required_audience",
            Self::TenantBoundary => "call in your own tenant",
            Self::MissingScope => {
                "use a tool that the profile allows, or add the tool to tools.allowed and its scope \
                 to identity.required_scopes"
            }
            Self::MissingIdempotencyKey => "send an idempotency key",
            Self::IdempotencyConflict => "use a new idempotency key for a different call",
            Self::CallInFlight => "wait for the first call to end",
            Self::OutcomeUnknown => {
                "check what the earlier call did, then use a new idempotency key"
            }
            Self::EgressDenied => "add the destination to the profile's allowed_domains",
            Self::ScanFinding => {
                "do without it, or have the profile allow it: sandbox.scan.forbidden names what it forbids"
            }
            Self::SecretInEnvironment => {
                "keep secrets out of the sandbox; declare a credential for the tool instead"
            }
            Self::IsolationUnavailable => {
                "run `casemate doctor` to see what this host can enforce, or relax sandbox.require"
            }
            Self::PolicyForbids => {
                "run `casemate policy explain DECISION` to see which policy forbids it"
            }
            Self::PolicyError => {
                "run `casemate policy check` on the bundle and activate the last good one"
            }
            Self::GateClosed => "run `casemate gate ROUTE`: it shows each check that fails",
            Self::TierExceeded => {
                "take the tool out of the profile, or raise its tier: somebody has to decide that"
            }
            Self::InformationFlow => {
                "ask an approver, or send it from a thread that read nothing untrusted"
            }
            Self::BudgetExhausted => "wait for a new budget, or have it raised",
            Self::LoopDetected => {
                "do something else: whatever succeeds in the thread lets it be tried again"
            }
            Self::LimitExceeded => "ask for less, or raise sandbox.limits in the profile",
            Self::SessionUnknown => "list the sessions that there are, or name a thread",
            Self::SessionGone => {
                "call again: a thread gets a new session, in which files and variables are to be made anew"
            }
            Self::SessionPaused => "resume it: `casemate session resume`",
            Self::SessionBusy => "wait until its calls have ended, or cancel them",
            Self::ContextUnknown => "open a new context, or leave it out",
            Self::ContextMismatch => "call the context's own language, or leave it out",
            Self::QuotaExceeded => {
                "wait until other calls have ended, destroy sessions, or raise the quota in the profile"
            }
            Self::Overloaded => "wait a little and send the call again",
            Self::ApprovalRequired => "ask an approver",
            Self::ApprovalInvalid => "ask for a new approval of exactly this call",
            Self::ApprovalDenied => {
                "do not send it again: do something else, or ask the approver why"
            }
            Self::ChangesRequested => "change the call as the approver says, and send that",
            Self::ApprovalExpired => "send it again when an approver is there",
            Self::ApprovalCancelled => "send it again if it is wanted after all",
            Self::RecordUnavailable => "make the state directory writable and try again",
        }
    }
}
