-- When a token was first used, or a little later; NULL while it never was, as far as is known. Only what was never used
-- is in the index, since the order of the others' last uses is that of token_uses; with the column itself, for SQLite
-- would else look it up in every row, and at the end, for to PostgreSQL what follows a NULL has no order.
ALTER TABLE tokens ADD COLUMN first_used_at BIGINT;
UPDATE tokens SET first_used_at = (SELECT seen_at FROM token_uses WHERE token_key = tokens.key)
    WHERE key IN (SELECT token_key FROM token_uses);
CREATE INDEX tokens_never_used ON tokens (registry_key, created_at, key, first_used_at)
    WHERE first_used_at IS NULL;

-- With the key, so that equal instants have an order.
DROP INDEX token_uses_registry_seen_at;
CREATE INDEX token_uses_registry_seen_at_key ON token_uses (registry_key, seen_at, token_key);
