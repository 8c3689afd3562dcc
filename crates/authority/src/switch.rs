//! A kill switch: what it stops, who threw it, and when.

use std::fmt;

use casemate_model::words;
use serde::{Deserialize, Serialize};

use crate::{
    SwitchError, host::normal_pattern, limits::MAX_REASON_BYTES, name::is_name, name::is_text,
};

words! {
    /// What a switch is for.
    SwitchKind {
        /// Everything of a tenant.
        Tenant = "tenant",
        /// Everything that is done for a user.
        User = "user",
        /// An agent.
        Agent = "agent",
        /// A route.
        Route = "route",
        /// A tool.
        Tool = "tool",
        /// A host, or with `*.` everything below it.
        Destination = "destination",
        /// A model.
        Model = "model",
        /// A credential handle.
        Credential = "credential",
    }
}
words! {
    /// To where a switch is thrown.
    Position {
        /// Nothing of the kind runs.
        Off = "off",
        /// New calls run. What had authority from before does not get it back.
        On = "on",
    }
}

/// How often switches of a board have been thrown. Only grows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch after `throws` throws.
    #[must_use]
    pub const fn new(throws: u64) -> Self {
        Self(throws)
    }

    /// How often switches have been thrown.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The epoch after one more throw.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an operator does to a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throw {
    /// What the switch is for.
    pub kind: SwitchKind,
    /// Which one of the kind.
    pub name: String,
    /// The tenant within which it works; everywhere if there is none.
    pub tenant: Option<String>,
    /// To where.
    pub to: Position,
    /// Who throws it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// A switch as it was left by whoever threw it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// What the switch is for.
    pub kind: SwitchKind,
    /// Which one of the kind.
    pub name: String,
    /// The tenant within which it works; everywhere if there is none.
    pub tenant: Option<String>,
    /// The epoch of the last throw.
    pub epoch: Epoch,
    /// Since when it has been off, in milliseconds since 1970. It is on if there is nothing.
    pub off_since_ms: Option<u64>,
    /// Who threw it last.
    pub who: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Switch {
    /// Whether it stops anything.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.off_since_ms.is_some()
    }

    /// Whether `throw` is of this switch.
    pub(crate) fn is_of(&self, throw: &Throw) -> bool {
        self.kind == throw.kind && self.name == throw.name && self.tenant == throw.tenant
    }

    /// The switch after it was thrown.
    pub(crate) fn thrown(before: Option<&Self>, throw: Throw, epoch: Epoch) -> Self {
        let off_since_ms = match throw.to {
            Position::On => None,
            Position::Off => before
                .and_then(|before| before.off_since_ms)
                .or(Some(throw.at_ms)),
        };
        Self {
            kind: throw.kind,
            name: throw.name,
            tenant: throw.tenant,
            epoch,
            off_since_ms,
            who: throw.who,
            reason: throw.reason,
            at_ms: throw.at_ms,
        }
    }

    /// Whether a throw could have left it like this.
    pub(crate) fn is_sound(&self) -> bool {
        let name = match self.kind {
            SwitchKind::Destination => {
                normal_pattern(&self.name).as_deref() == Some(self.name.as_str())
            }
            _ => is_name(&self.name),
        };
        let tenant = match (&self.tenant, self.kind) {
            (None, _) => true,
            (Some(_), SwitchKind::Tenant) => false,
            (Some(tenant), _) => is_name(tenant),
        };
        name && tenant && is_name(&self.who) && is_text(&self.reason, MAX_REASON_BYTES)
    }
}

impl Throw {
    /// The same with the name as it is looked up.
    pub(crate) fn checked(self) -> Result<Self, SwitchError> {
        let name = match self.kind {
            SwitchKind::Destination => {
                normal_pattern(&self.name).ok_or(SwitchError::Destination)?
            }
            _ if is_name(&self.name) => self.name,
            _ => return Err(SwitchError::Name { what: "the switch" }),
        };
        match &self.tenant {
            Some(_) if self.kind == SwitchKind::Tenant => return Err(SwitchError::TenantInTenant),
            Some(tenant) if !is_name(tenant) => {
                return Err(SwitchError::Name { what: "the tenant" });
            }
            _ => {}
        }
        if !is_name(&self.who) {
            return Err(SwitchError::Name {
                what: "who throws it",
            });
        }
        if !is_text(&self.reason, MAX_REASON_BYTES) {
            return Err(SwitchError::Reason);
        }
        Ok(Self { name, ..self })
    }
}
