-- The tokens that only a walk finds. At first these are all, and each leaves when it is used or rotated. This reads the
-- table once, and PostgreSQL lets nobody write to it meanwhile: less than a second for a million tokens.
CREATE INDEX tokens_without_lookup ON tokens (key)
    WHERE (lookup IS NULL) OR (lookup_version <> secret_version) OR ((previous_digest IS NOT NULL) AND (previous_lookup IS NULL));
