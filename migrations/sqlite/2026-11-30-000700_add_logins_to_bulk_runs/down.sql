ALTER TABLE bulk_runs DROP COLUMN made_since;
ALTER TABLE bulk_runs DROP COLUMN login;
