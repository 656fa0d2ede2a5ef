-- What refresh tokens of registries' clients are bound to, beside the hash of the secret: random, and another one once the
-- token or the account was disabled. Rows of earlier releases have none until then.
ALTER TABLE tokens ADD COLUMN refresh_id BYTEA;
ALTER TABLE accounts ADD COLUMN refresh_id BYTEA;
