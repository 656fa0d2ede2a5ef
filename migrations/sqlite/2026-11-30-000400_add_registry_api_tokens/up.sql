-- registry_key: the one registry that an API token acts on, by its key, which never comes back; NULL for all others.
-- level: the most that it may do there, as a membership has it. Such a row has no roles, so a release before this one
-- lets its token do nothing. The columns are added without a rewrite, and the index reads the table once: a second for a
-- million rows, of which none is in it yet.
ALTER TABLE api_tokens ADD COLUMN registry_key BIGINT;
ALTER TABLE api_tokens ADD COLUMN level TEXT;
CREATE INDEX api_tokens_registry ON api_tokens (registry_key, key) WHERE registry_key IS NOT NULL;
