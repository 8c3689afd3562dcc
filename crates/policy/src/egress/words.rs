//! The words of rules and of what they judge.

use casemate_model::words;

words! {
    /// What a rule is for.
    RuleEffect {
        /// To let something through.
        Allow = "allow",
        /// To keep something back that another rule lets through.
        Deny = "deny",
    }
}
words! {
    /// What is behind a destination.
    RuleKind {
        /// An interface that is called on somebody's behalf.
        Api = "api",
        /// Pages that are looked at on nobody's.
        Browse = "browse",
    }
}
words! {
    /// What becomes of a body that is larger than what passes as a question.
    RuleExport {
        /// It is refused.
        Never = "never",
        /// It waits for a person.
        Approval = "approval",
        /// It passes.
        Allowed = "allowed",
    }
}
words! {
    /// When a request waits for a person.
    RuleApproval {
        /// Not because of this.
        Never = "never",
        /// If the destination is new.
        NewDestination = "new_destination",
        /// Whatever it is.
        Always = "always",
    }
}
words! {
    /// What may be sent through a WebSocket.
    WebSocket {
        /// There is none.
        Off = "off",
        /// Text.
        Text = "text",
        /// Anything.
        Binary = "binary",
    }
}
words! {
    /// What is spoken with a destination.
    RuleProtocol {
        /// HTTP, request by request.
        Http = "http",
        /// That of PostgreSQL: one login, and whatever its user may do.
        Postgres = "postgres",
    }
}
words! {
    /// What is spoken, and whether others on the way can read it.
    Scheme {
        /// HTTP, and they cannot.
        Https = "https",
        /// HTTP, and they can.
        Http = "http",
        /// That of PostgreSQL, and they cannot.
        Postgres = "postgres",
    }
}

impl Scheme {
    /// Whose rules are about it.
    #[must_use]
    pub const fn protocol(self) -> RuleProtocol {
        match self {
            Self::Https | Self::Http => RuleProtocol::Http,
            Self::Postgres => RuleProtocol::Postgres,
        }
    }
}
words! {
    /// What a GraphQL operation does.
    GraphqlKind {
        /// Reads.
        Query = "query",
        /// Changes something.
        Mutation = "mutation",
        /// Hears of changes.
        Subscription = "subscription",
    }
}
words! {
    /// Whether the agent has been to a destination before.
    Familiarity {
        /// It has.
        Known = "known",
        /// It has not.
        New = "new",
    }
}
