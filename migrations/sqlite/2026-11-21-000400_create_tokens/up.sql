CREATE TABLE tokens (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    uuid BLOB NOT NULL,
    registry_key BIGINT NOT NULL,
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    status TEXT NOT NULL,
    expires_at BIGINT,
    scopes TEXT NOT NULL,
    cidrs TEXT NOT NULL,
    secret_digest BLOB NOT NULL,
    secret_key BIGINT NOT NULL,
    secret_version BIGINT NOT NULL,
    secret_at BIGINT NOT NULL,
    previous_digest BLOB,
    previous_key BIGINT,
    previous_until BIGINT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by BLOB NOT NULL,
    created_by_name TEXT NOT NULL,
    modified_at BIGINT,
    modified_by BLOB,
    modified_by_name TEXT,
    UNIQUE (registry_key, uuid),
    UNIQUE (registry_key, name_key),
    UNIQUE (registry_key, position)
);
CREATE INDEX tokens_expires_at ON tokens (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX tokens_registry_expires_at ON tokens (registry_key, expires_at, key);

-- Live tokens per 4 096 positions (bucket = position >> 12): totals and deep pages without counting rows.
CREATE TABLE token_counts (
    registry_key BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    live BIGINT NOT NULL,
    PRIMARY KEY (registry_key, bucket)
);
