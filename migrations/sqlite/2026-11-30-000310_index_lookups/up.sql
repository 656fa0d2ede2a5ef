-- Empty at first. This reads the table once, and PostgreSQL lets nobody write to it meanwhile: some tenths of a second for a
-- million tokens. The three indexes are migrations of their own, so that writers get their turns between them.
CREATE INDEX tokens_lookup ON tokens (lookup) WHERE lookup IS NOT NULL;
