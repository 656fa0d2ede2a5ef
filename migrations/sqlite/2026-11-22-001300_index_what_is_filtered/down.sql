DROP INDEX token_uses_registry_seen_at_key;
CREATE INDEX token_uses_registry_seen_at ON token_uses (registry_key, seen_at);
DROP INDEX tokens_never_used;
ALTER TABLE tokens DROP COLUMN first_used_at;
