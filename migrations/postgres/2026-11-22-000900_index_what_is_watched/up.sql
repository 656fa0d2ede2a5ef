-- What monitors are told: tokens that are disabled, and which certificate of a role ends first.
CREATE INDEX tokens_disabled ON tokens (status, expires_at) WHERE status = 'disabled';
CREATE INDEX signing_keys_role_end ON signing_keys (role, not_after) WHERE retired_at IS NULL;
