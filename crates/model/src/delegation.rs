//! How a caller was proven, on whose behalf it acts, and to what that is restricted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::words;

words! {
    /// What proved who somebody is: a closed set.
    Authenticator {
        /// The kernel named the user id of the local process that called.
        LocalUser = "local_user",
        /// An issuer's token.
        Jwt = "jwt",
        /// A key that this gateway gave out.
        ApiKey = "api_key",
        /// The certificate of a TLS client.
        Certificate = "certificate",
        /// A part of somebody else's authority, given on.
        Envelope = "envelope",
    }
}

/// One of those on whose behalf a caller acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegator {
    /// Who says so.
    pub issuer: String,
    /// The one who gave authority on.
    pub subject: String,
    /// What proved it.
    pub authority: Authenticator,
    /// The name of the credential that did.
    pub credential: String,
}

/// To what authority is restricted further. What is `None` is not restricted; an empty set leaves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The only tools that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<BTreeSet<String>>,
    /// The only agents that may be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<BTreeSet<String>>,
    /// The only threads that may be touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<BTreeSet<String>>,
}

impl Bounds {
    /// What both permit.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            tools: both(self.tools.as_ref(), other.tools.as_ref()),
            agents: both(self.agents.as_ref(), other.agents.as_ref()),
            threads: both(self.threads.as_ref(), other.threads.as_ref()),
        }
    }

    /// Each kind of bound with its name.
    #[must_use]
    pub const fn kinds(&self) -> [(&'static str, Option<&BTreeSet<String>>); 3] {
        [
            ("tool", self.tools.as_ref()),
            ("agent", self.agents.as_ref()),
            ("thread", self.threads.as_ref()),
        ]
    }

    /// Whether nothing is restricted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.kinds().iter().all(|(_, names)| names.is_none())
    }

    /// Whether this tool may be used.
    #[must_use]
    pub fn has_tool(&self, tool: &str) -> bool {
        has(self.tools.as_ref(), Some(tool))
    }

    /// Whether this agent may be called.
    #[must_use]
    pub fn has_agent(&self, agent: &str) -> bool {
        has(self.agents.as_ref(), Some(agent))
    }

    /// Whether this thread may be touched, or what is in no thread.
    #[must_use]
    pub fn has_thread(&self, thread: Option<&str>) -> bool {
        has(self.threads.as_ref(), thread)
    }
}

/// What has no name, or whose name is not known, is in no bound.
fn has(only: Option<&BTreeSet<String>>, name: Option<&str>) -> bool {
    only.is_none_or(|only| name.is_some_and(|name| only.contains(name)))
}

fn both(
    one: Option<&BTreeSet<String>>,
    other: Option<&BTreeSet<String>>,
) -> Option<BTreeSet<String>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one & other),
        (one, other) => one.or(other).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Option<BTreeSet<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// R138: what is bounded has nothing beside what it names, and nothing that has no name.
    #[test]
    fn bounds_leave_what_they_name_and_nothing_else() {
        let open = Bounds::default();
        assert!(open.is_open() && open.has_tool("x") && open.has_thread(None));
        let bounds = Bounds {
            tools: set(&["python"]),
            agents: set(&[]),
            threads: set(&["t"]),
        };
        assert!(!bounds.is_open());
        assert!(bounds.has_tool("python") && !bounds.has_tool("shell"));
        assert!(!bounds.has_agent("local"));
        assert!(bounds.has_thread(Some("t")));
        assert!(!bounds.has_thread(Some("u")) && !bounds.has_thread(None));
        let both = bounds.and(&Bounds {
            tools: set(&["shell"]),
            ..Bounds::default()
        });
        assert!(!both.has_tool("python") && !both.has_tool("shell"));
        assert_eq!(both.threads, bounds.threads);
    }
}
