-- What databases of agents were, version by version, and a few rows of each: it never changes. The test makes a database of each
-- version of its sections up to there. A migration that is edited no longer has its checksum, and fails it.

-- VERSION 1
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
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
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (1, 'idempotency', TRUE, x'22f78f93098b3a8c633652d452d06306ad0b04dd5880ffcfa5208a5bfeefc9fbb9a636711fa9af0746d50b5216afc12a', 0);
INSERT INTO idempotency VALUES ('local', 'python', 'done', x'7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 'dec_00000000000177078707070707070707', 'finished', NULL, 1800000000001, 1800000000011);
INSERT INTO idempotency VALUES ('local', 'python', 'lost', x'3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', 'dec_00000000000277078707070707070707', 'unknown', NULL, 1800000000002, 1800000000012);
INSERT INTO idempotency VALUES ('local', 'python', 'open', x'8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f', 'dec_00000000000377078707070707070707', 'running', NULL, 1800000000003, NULL);

-- VERSION 2
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
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (2, 'sessions', TRUE, x'e2c3a1f2bbe25ee46c98ea4712f6285cc8ee1119d68985fbef636cd18c56e7b8f4b43eb46aaebc7d7d13aa78ebf7f8a8', 0);
INSERT INTO sessions VALUES ('ses_00000000000177078707070707070707', 'local', 't', 'host', x'7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 1800000000001, 1800000000002, NULL, NULL, 0);
INSERT INTO sessions VALUES ('ses_00000000000277078707070707070707', 'local', 'old', 'host', x'3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', 1800000000001, 1800000000002, 'idle', 1800000000003, 1);

-- VERSION 3
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
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (3, 'approvals', TRUE, x'f740fb1b443f76a4a3caa12723ffe81dc947ec1886f9ba9a0db09906fc6b4e640195417dccaec732e413bd65021283b6', 0);
INSERT INTO approvals VALUES ('dec_00000000000177078707070707070707', 'local', 'shell', 'k', x'7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 'pending', 1800000000001, 1900000000000, 1800000000001, 0, 0, CAST('{"key":"key_00000000000000000000000000000001","nonce":"AAAAAAAAAAAAAAAA","ciphertext":"AAAA"}' AS BLOB), NULL);

-- VERSION 4
-- Where the agent has been: destinations that have answered it.
CREATE TABLE destinations (
    tenant         TEXT    NOT NULL,
    host           TEXT    NOT NULL,
    port           INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    -- When it was last noted.
    answered_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, host, port)
) STRICT;
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (4, 'destinations', TRUE, x'd51901192c611616d7b33b45128285caff957f506c88514911187056a1671ae096d493e02006e20077348eec50ee2406', 0);
INSERT INTO destinations VALUES ('local', 'example.com', 443, 1800000000001);

-- VERSION 5
-- Where the files of a paused session are; NULL while it is not paused, and when it has ended.
ALTER TABLE sessions ADD COLUMN paused_image TEXT;
ALTER TABLE sessions ADD COLUMN paused_bytes INTEGER
    CHECK ((paused_bytes IS NULL) = (paused_image IS NULL));
ALTER TABLE sessions ADD COLUMN paused_at_ms INTEGER
    CHECK ((paused_at_ms IS NULL) = (paused_image IS NULL));
ALTER TABLE sessions ADD COLUMN paused_until_ms INTEGER
    CHECK ((paused_until_ms IS NULL) = (paused_image IS NULL) AND (paused_image IS NULL OR gone IS NULL));
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (5, 'paused', TRUE, x'fe3794c81a4f3b1b1fc21ca6ccd0640ffecd4bd2e12c87faefae69aa20e17e3a1744099e796bb73a4cac1acc8bfbb3df', 0);
