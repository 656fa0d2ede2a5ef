-- lookup: the half of the code that is no secret. sealed_code: the whole code, where it may be shown again.
CREATE TABLE app_tokens (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    uuid BLOB NOT NULL UNIQUE,
    account_key BIGINT NOT NULL,
    title TEXT NOT NULL,
    lookup TEXT NOT NULL UNIQUE,
    secret_digest BLOB NOT NULL,
    secret_key BIGINT NOT NULL,
    sealed_code BLOB,
    seal_key BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    used_at BIGINT,
    used_address TEXT
);
CREATE INDEX app_tokens_account ON app_tokens (account_key, key);
CREATE INDEX app_tokens_expires_at ON app_tokens (expires_at) WHERE expires_at IS NOT NULL;
