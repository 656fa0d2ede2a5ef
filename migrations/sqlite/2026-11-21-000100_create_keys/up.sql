-- Facts about the whole data set: the fingerprint of the server key, and rows to lock.
CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
);

-- Writers on PostgreSQL lock this row before they change names that must be unique in the whole data set.
INSERT INTO meta (name, value) VALUES ('catalog', X'');

-- Random keys, sealed by the server key; every digest and sealed value names the one it used.
CREATE TABLE data_keys (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    purpose TEXT NOT NULL,
    sealed BLOB NOT NULL,
    server_key_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);
