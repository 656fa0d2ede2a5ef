-- What is counted before another one is made: an account's living registries, and API tokens in force.
CREATE INDEX registries_created_by ON registries (created_by) WHERE deleted_at IS NULL;
CREATE INDEX api_tokens_in_force ON api_tokens (revoked_at, expires_at);
