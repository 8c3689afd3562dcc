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
    /// Whether others on the way can read a request.
    Scheme {
        /// They cannot.
        Https = "https",
        /// They can.
        Http = "http",
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
