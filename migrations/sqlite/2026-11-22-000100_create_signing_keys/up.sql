CREATE TABLE signing_keys (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    registry_key BIGINT NOT NULL,
    role TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    kid TEXT NOT NULL,
    certificate BLOB NOT NULL,
    public_key BLOB NOT NULL,
    sealed_private BLOB NOT NULL,
    seal_key BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    active_from BIGINT NOT NULL,
    retired_at BIGINT
);
CREATE UNIQUE INDEX signing_keys_kid ON signing_keys (kid);
CREATE INDEX signing_keys_registry ON signing_keys (registry_key, role, active_from);
-- Which key is due for rotation, and which certificate ends first.
CREATE INDEX signing_keys_due ON signing_keys (role, active_from) WHERE retired_at IS NULL;
CREATE INDEX signing_keys_end ON signing_keys (not_after) WHERE retired_at IS NULL;
CREATE INDEX signing_keys_retired ON signing_keys (retired_at) WHERE retired_at IS NOT NULL;
