-- How old the secrets of a registry's tokens may become, in seconds, and since when there is the one before the current.
ALTER TABLE registries ADD COLUMN maximum_secret_age BIGINT;
ALTER TABLE tokens ADD COLUMN previous_at BIGINT;
