//! The field's words as closed sets. The text forms are the seeds'.

/// A closed set of words: an enum that is written, read and listed as its texts. Whoever uses it needs `serde`.
///
/// ```
/// casemate_model::words! {
///     /// Where something is.
///     Side {
///         /// Here.
///         Left = "left",
///         /// There.
///         Right = "right",
///     }
/// }
/// assert_eq!(Side::from_word("right"), Some(Side::Right));
/// assert_eq!(Side::ALL.len(), 2);
/// ```
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize,
            serde::Deserialize,
        )]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every word of the set, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value that `text` names.
            #[must_use]
            pub fn from_word(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a tool does to the world.
    SideEffect {
        /// Looks, changes nothing.
        Read = "read",
        /// Makes something that somebody else will look at before it counts.
        Draft = "draft",
        /// Changes a system of record.
        Write = "write",
        /// Sends something out that cannot be called back.
        ExternalSend = "external_send",
    }
}
words! {
    /// How much an agent may do without a person.
    RunMode {
        /// Nothing but reads.
        ReadOnly = "read_only",
        /// Writes wait for a person.
        Review = "review",
        /// Acts within its profile.
        Autonomous = "autonomous",
    }
}
impl RunMode {
    /// The one in which less happens without a person.
    #[must_use]
    pub fn at_most(self, ceiling: Self) -> Self {
        self.min(ceiling)
    }
}

words! {
    /// What made an agent act.
    Trigger {
        /// A person who waits for it.
        Interactive = "interactive",
        /// A clock.
        Schedule = "schedule",
        /// A message from outside.
        Webhook = "webhook",
        /// Another agent.
        Agent = "agent",
    }
}
words! {
    /// How far the approval of a call has come.
    ApprovalState {
        /// Nobody has answered, or not enough have.
        Pending = "pending",
        /// Enough have consented: the call is about to run.
        Approved = "approved",
        /// Somebody said no.
        Denied = "denied",
        /// Somebody wants another call.
        ChangesRequested = "changes_requested",
        /// Nobody answered in time, or it did not run in time.
        Expired = "expired",
        /// It was taken back.
        Cancelled = "cancelled",
        /// Another call came in its place, or another policy.
        Superseded = "superseded",
        /// The call runs, or ran.
        Consumed = "consumed",
    }
}
words! {
    /// Whom a destination belongs to.
    DestinationClass {
        /// Ours.
        Internal = "internal",
        /// A partner's.
        Partner = "partner",
        /// A customer's.
        Customer = "customer",
        /// Anyone's.
        Public = "public",
        /// Not classified: denied.
        Unknown = "unknown",
    }
}
words! {
    /// What kind of work a profile contains (seed 002, sandbox tiers).
    Tier {
        /// Search and summaries.
        ReadOnly = "read_only",
        /// Typed tools with bounded side effects.
        ToolLimited = "tool_limited",
        /// Files in a scoped directory.
        Workspace = "workspace",
        /// A browser.
        Browser = "browser",
        /// Generated code.
        Code = "code",
    }
}
words! {
    /// The boundary around a sandbox, weakest first.
    IsolationTier {
        /// Linux namespaces, seccomp, Landlock; the host's kernel is shared.
        Namespace = "namespace",
        /// gVisor's user-space kernel.
        Gvisor = "gvisor",
        /// A virtual machine.
        Vm = "vm",
    }
}
words! {
    /// How much harm a route can do.
    RiskClass {
        /// Little.
        Low = "low",
        /// Some.
        Medium = "medium",
        /// Much.
        High = "high",
    }
}
words! {
    /// Which network the name of a host is of, as far as the name says it. Where it leads is found out when it is dialled.
    Reach {
        /// Anybody's.
        Global = "global",
        /// One that only this host or its neighbours reach.
        Private = "private",
        /// A metadata service, which gives credentials away.
        Metadata = "metadata",
        /// It cannot be told: an address, or an odd spelling.
        Unknown = "unknown",
    }
}
