//! A call that is on disk.

use std::fmt;

use casemate_ledger::Receipt;

use crate::{Facts, Leased, leased::Token, limits::LEASE_TTL_MS, open::OpenCall};

/// An allowed call whose decision is on disk. If it is dropped, its outcome is recorded as unknown.
pub struct Recorded<'j, S, I> {
    open: OpenCall<'j>,
    token: Token,
    sandbox: S,
    store: Option<I>,
}

impl<'j, S, I> Recorded<'j, S, I> {
    pub(crate) const fn new(
        open: OpenCall<'j>,
        token: Token,
        sandbox: S,
        store: Option<I>,
    ) -> Self {
        Self {
            open,
            token,
            sandbox,
            store,
        }
    }

    /// What is known of the call.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.open.facts
    }

    /// Where the decision is recorded.
    #[must_use]
    pub const fn receipt(&self) -> &Receipt {
        &self.open.receipt
    }

    /// Gives the call its action token: the right to run once, within [`LEASE_TTL_MS`].
    #[must_use]
    pub fn lease(self) -> Leased<'j, S, I> {
        let expires_at_ms = self
            .open
            .journal
            .clock
            .now_ms()
            .saturating_add(LEASE_TTL_MS);
        Leased::new(
            self.open,
            self.token,
            expires_at_ms,
            self.sandbox,
            self.store,
        )
    }
}

impl<S, I> fmt::Debug for Recorded<'_, S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recorded").field(&self.open.facts).finish()
    }
}
