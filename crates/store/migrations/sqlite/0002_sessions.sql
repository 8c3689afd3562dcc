-- The agent's sessions: those that live, as far as anybody knows, and those that ended not too long ago.
CREATE TABLE sessions (
    id            TEXT    NOT NULL PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    -- NULL for a session that was opened for itself.
    thread        TEXT,
    image         TEXT    NOT NULL,
    profile       BLOB    NOT NULL CHECK (length(profile) = 32),
    created_at_ms INTEGER NOT NULL,
    used_at_ms    INTEGER NOT NULL,
    -- Why it ended; NULL while it lives.
    gone          TEXT,
    gone_at_ms    INTEGER CHECK ((gone_at_ms IS NULL) = (gone IS NULL)),
    -- Whether its thread was told that it ended.
    told          INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1))
) STRICT;

-- A thread has one living session.
CREATE UNIQUE INDEX sessions_alive ON sessions (tenant, thread) WHERE gone IS NULL AND thread IS NOT NULL;
CREATE INDEX sessions_of_thread ON sessions (tenant, thread, created_at_ms);
CREATE INDEX sessions_ended ON sessions (gone_at_ms) WHERE gone IS NOT NULL;
