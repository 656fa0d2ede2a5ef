DROP INDEX api_tokens_registry;
DELETE FROM api_tokens WHERE registry_key IS NOT NULL;
ALTER TABLE api_tokens DROP COLUMN level;
ALTER TABLE api_tokens DROP COLUMN registry_key;
