-- When and from where a token was last used; a row is made by its first use. seen_at = used_at, for "unused since".
CREATE TABLE token_uses (
    token_key BIGINT NOT NULL PRIMARY KEY,
    registry_key BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    used_at BIGINT,
    address TEXT,
    repository TEXT
);
CREATE INDEX token_uses_registry_seen_at ON token_uses (registry_key, seen_at);
