-- login: a digest of the login of the account when it confirmed the run; it differs once that password ended or the account
-- was disabled. NULL in runs of a release before this one, which stop unless an API token confirmed them. made_since: tokens
-- that met the conditions at the confirmation and were made after the dry run. The columns are added without a rewrite.
ALTER TABLE bulk_runs ADD COLUMN login BLOB;
ALTER TABLE bulk_runs ADD COLUMN made_since BIGINT NOT NULL DEFAULT 0;
