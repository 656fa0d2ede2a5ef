-- The values by which a secret finds its token: keyed hashes of the secret alone, cut to 16 bytes. They are bound to no
-- row and prove nothing. `lookup` is of the secret whose number is `lookup_version`, `previous_lookup` of the one before.
-- A release before this one rotates a token and leaves all three as they are: then `lookup_version` is not
-- `secret_version`, and the values count for nothing.
ALTER TABLE tokens ADD COLUMN lookup BLOB;
ALTER TABLE tokens ADD COLUMN lookup_version BIGINT;
ALTER TABLE tokens ADD COLUMN previous_lookup BLOB;
