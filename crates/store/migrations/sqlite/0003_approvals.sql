-- The agent's calls that wait for a person, or did.
CREATE TABLE approvals (
    -- The call.
    decision      TEXT    NOT NULL PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    tool          TEXT    NOT NULL,
    -- The idempotency key that the caller chose.
    key           TEXT,
    action        BLOB    NOT NULL CHECK (length(action) = 32),
    state         TEXT    NOT NULL,
    held_at_ms    INTEGER NOT NULL,
    -- When the wait ends, or the consent.
    expires_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    -- Whether the call has ended that was approved.
    ended         INTEGER NOT NULL DEFAULT 0 CHECK (ended IN (0, 1)),
    -- Counts the changes: whoever changes it has to have seen the last one.
    version       INTEGER NOT NULL DEFAULT 0,
    -- The call and the votes, sealed.
    request       BLOB    NOT NULL,
    votes         BLOB
) STRICT;

CREATE INDEX approvals_open ON approvals (held_at_ms)
    WHERE state IN ('pending', 'approved') OR (state = 'consumed' AND ended = 0);
CREATE INDEX approvals_of_tenant ON approvals (tenant, held_at_ms);
CREATE INDEX approvals_changed ON approvals (changed_at_ms);
-- A key waits once.
CREATE UNIQUE INDEX approvals_key ON approvals (tenant, tool, key)
    WHERE key IS NOT NULL AND state IN ('pending', 'approved');
