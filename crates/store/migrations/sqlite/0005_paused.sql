-- Where the files of a paused session are; NULL while it is not paused, and when it has ended.
ALTER TABLE sessions ADD COLUMN paused_image TEXT;
ALTER TABLE sessions ADD COLUMN paused_bytes INTEGER
    CHECK ((paused_bytes IS NULL) = (paused_image IS NULL));
ALTER TABLE sessions ADD COLUMN paused_at_ms INTEGER
    CHECK ((paused_at_ms IS NULL) = (paused_image IS NULL));
ALTER TABLE sessions ADD COLUMN paused_until_ms INTEGER
    CHECK ((paused_until_ms IS NULL) = (paused_image IS NULL) AND (paused_image IS NULL OR gone IS NULL));
