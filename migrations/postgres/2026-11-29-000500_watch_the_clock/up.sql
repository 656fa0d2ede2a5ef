-- What the janitors last saw of the wall clock: one row. doubted_since, doubted_at: the first and the last look while it
-- is not believed.
CREATE TABLE janitor_clock (
    key BIGINT NOT NULL PRIMARY KEY,
    believed_at BIGINT NOT NULL,
    doubted_since BIGINT,
    doubted_at BIGINT
);
-- The last time that is known of a database that was in use before.
INSERT INTO janitor_clock (key, believed_at) SELECT 1, at FROM audit_events ORDER BY at DESC LIMIT 1;

-- Which certificate in use is not valid yet.
CREATE INDEX signing_keys_begin ON signing_keys (not_before) WHERE retired_at IS NULL;
