-- Where the agent has been: destinations that have answered it.
CREATE TABLE destinations (
    tenant         TEXT    NOT NULL,
    host           TEXT    NOT NULL,
    port           INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    -- When it was last noted.
    answered_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, host, port)
) STRICT;
