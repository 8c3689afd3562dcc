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

/// One row, or none when the id is taken or the thread has a living session.
pub(crate) const ADD_SESSION: &str = "\
    INSERT INTO sessions (id, tenant, thread, image, profile, created_at_ms, used_at_ms) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) \
    ON CONFLICT DO NOTHING";

/// Times only grow: calls that end at one time may be noted in any order.
pub(crate) const USE_SESSION: &str = "\
    UPDATE sessions SET used_at_ms = $2 WHERE id = $1 AND gone IS NULL AND used_at_ms < $2";

/// Ends a session only while it lives.
pub(crate) const END_SESSION: &str = "\
    UPDATE sessions SET gone = $2, gone_at_ms = $3, paused_image = NULL, paused_bytes = NULL, \
    paused_at_ms = NULL, paused_until_ms = NULL WHERE id = $1 AND gone IS NULL";

/// Pauses a session that lives and is not paused.
pub(crate) const PAUSE_SESSION: &str = "\
    UPDATE sessions SET paused_image = $2, paused_bytes = $3, paused_at_ms = $4, paused_until_ms = $5 \
    WHERE id = $1 AND gone IS NULL AND paused_image IS NULL";

pub(crate) const RESUME_SESSION: &str = "\
    UPDATE sessions SET paused_image = NULL, paused_bytes = NULL, paused_at_ms = NULL, \
    paused_until_ms = NULL, used_at_ms = $3 WHERE id = $1 AND gone IS NULL AND paused_image = $2";

/// One row for the first who tells.
pub(crate) const TELL_SESSION: &str = "\
    UPDATE sessions SET told = 1 WHERE id = $1 AND gone IS NOT NULL AND told = 0";

pub(crate) const SESSION: &str = "SELECT * FROM sessions WHERE id = $1";

pub(crate) const THREAD_SESSION: &str = "\
    SELECT * FROM sessions WHERE tenant = $1 AND thread = $2 \
    ORDER BY (gone IS NULL) DESC, created_at_ms DESC, id DESC LIMIT 1";

pub(crate) const SESSIONS: &str = "\
    SELECT * FROM sessions WHERE tenant = $1 \
    ORDER BY (gone IS NULL) DESC, created_at_ms DESC, id DESC LIMIT $2";

pub(crate) const LIVING_SESSIONS: &str = "\
    SELECT * FROM sessions WHERE gone IS NULL ORDER BY created_at_ms, id";

pub(crate) const FORGET_SESSIONS: &str = "\
    DELETE FROM sessions WHERE gone IS NOT NULL AND gone_at_ms < $1";

/// One row, or none when the call, or its key, waits already.
pub(crate) const ADD_APPROVAL: &str = "\
    INSERT INTO approvals (decision, tenant, tool, key, action, state, held_at_ms, expires_at_ms, \
    changed_at_ms, request, votes) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT DO NOTHING";

/// Changes a row only after the change before this one.
pub(crate) const CHANGE_APPROVAL: &str = "\
    UPDATE approvals SET state = $2, expires_at_ms = $3, changed_at_ms = $4, ended = $5, \
    version = $6, votes = $7 \
    WHERE decision = $1 AND version = $6 - 1";

/// Puts less in the place of a call that waits no more.
pub(crate) const REPLACE_REQUEST: &str = "\
    UPDATE approvals SET request = $2 WHERE decision = $1 AND state NOT IN ('pending', 'approved')";

pub(crate) const APPROVAL: &str = "SELECT * FROM approvals WHERE decision = $1";

pub(crate) const APPROVAL_OF_KEY: &str = "\
    SELECT decision, tenant, tool, key, action, state, held_at_ms, expires_at_ms, changed_at_ms, \
    ended, version, NULL AS request, votes FROM approvals \
    WHERE tenant = $1 AND tool = $2 AND key = $3 AND state IN ('pending', 'approved')";

pub(crate) const APPROVALS: &str = "\
    SELECT decision, tenant, tool, key, action, state, held_at_ms, expires_at_ms, changed_at_ms, \
    ended, version, NULL AS request, votes FROM approvals \
    WHERE tenant = $1 AND ($2 IS NULL OR state = $2) \
    ORDER BY held_at_ms DESC, decision DESC LIMIT $3";

pub(crate) const OPEN_APPROVALS: &str = "\
    SELECT decision, tenant, tool, key, action, state, held_at_ms, expires_at_ms, changed_at_ms, \
    ended, version, NULL AS request, NULL AS votes FROM approvals \
    WHERE state IN ('pending', 'approved') OR (state = 'consumed' AND ended = 0) \
    ORDER BY held_at_ms, decision";

pub(crate) const FORGET_APPROVALS: &str = "\
    DELETE FROM approvals WHERE changed_at_ms < $1 AND state NOT IN ('pending', 'approved') \
    AND (state <> 'consumed' OR ended = 1)";

pub(crate) const NOTE_DESTINATION: &str = "\
    INSERT INTO destinations (tenant, host, port, answered_at_ms) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (tenant, host, port) DO UPDATE SET answered_at_ms = excluded.answered_at_ms \
    WHERE destinations.answered_at_ms < excluded.answered_at_ms";

pub(crate) const DESTINATIONS: &str = "\
    SELECT host, port FROM destinations WHERE tenant = $1 ORDER BY host, port";

/// All but the newest.
pub(crate) const FORGET_DESTINATIONS: &str = "\
    DELETE FROM destinations WHERE tenant = $1 AND (host, port) NOT IN (\
    SELECT host, port FROM destinations WHERE tenant = $1 \
    ORDER BY answered_at_ms DESC, host, port LIMIT $2)";
