//! The statements, in words that SQLite and Postgres share.

/// One row, or none when any unique value is taken.
pub(crate) const CLAIM: &str = "\
    INSERT INTO idempotency (tenant, tool, key, action, decision, state, claimed_at_ms) \
    VALUES ($1, $2, $3, $4, $5, 'running', $6) \
    ON CONFLICT DO NOTHING";

pub(crate) const HOLDER: &str = "\
    SELECT action, decision, state, result FROM idempotency \
    WHERE tenant = $1 AND tool = $2 AND key = $3";

/// Ends a claim only while it runs.
pub(crate) const END: &str = "\
    UPDATE idempotency SET state = $2, result = $3, finished_at_ms = $4 \
    WHERE decision = $1 AND state = 'running'";

/// Gives a key back only while its claim runs.
pub(crate) const RELEASE: &str = "\
    DELETE FROM idempotency WHERE decision = $1 AND state = 'running'";

pub(crate) const STATE: &str = "SELECT state FROM idempotency WHERE decision = $1";
