-- Which call holds which idempotency key, and what came of it.
CREATE TABLE idempotency (
    tenant         TEXT    NOT NULL,
    tool           TEXT    NOT NULL,
    key            TEXT    NOT NULL,
    -- SHA-256 of the canonical call: another call under the same key is a conflict.
    action         BLOB    NOT NULL CHECK (length(action) = 32),
    decision       TEXT    NOT NULL UNIQUE,
    state          TEXT    NOT NULL CHECK (state IN ('running', 'finished', 'unknown')),
    -- JSON of the sealed result; NULL when it cannot be replayed.
    result         BLOB    CHECK (result IS NULL OR state = 'finished'),
    claimed_at_ms  INTEGER NOT NULL,
    finished_at_ms INTEGER CHECK ((finished_at_ms IS NULL) = (state = 'running')),
    PRIMARY KEY (tenant, tool, key)
) STRICT;
