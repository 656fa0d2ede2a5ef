CREATE TABLE registries (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    uuid BLOB NOT NULL,
    name TEXT NOT NULL,
    location TEXT NOT NULL,
    schedule TEXT,
    features TEXT NOT NULL,
    subnets TEXT NOT NULL,
    verifier TEXT NOT NULL,
    default_life BIGINT,
    maximum_life BIGINT,
    frozen_at BIGINT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by BLOB NOT NULL,
    created_by_name TEXT NOT NULL,
    modified_at BIGINT,
    modified_by BLOB,
    modified_by_name TEXT,
    deleted_at BIGINT
);
CREATE UNIQUE INDEX registries_uuid ON registries (uuid) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX registries_name ON registries (name) WHERE deleted_at IS NULL;
CREATE INDEX registries_deleted_at ON registries (deleted_at) WHERE deleted_at IS NOT NULL;

-- The next token's position in its registry; a writing group on PostgreSQL locks these rows first, in key order.
CREATE TABLE registry_counters (
    registry_key BIGINT NOT NULL PRIMARY KEY,
    next_position BIGINT NOT NULL
);
