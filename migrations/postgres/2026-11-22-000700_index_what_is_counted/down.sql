DROP INDEX api_tokens_in_force;
DROP INDEX registries_created_by;
