ALTER TABLE tokens DROP COLUMN previous_lookup;
ALTER TABLE tokens DROP COLUMN lookup_version;
ALTER TABLE tokens DROP COLUMN lookup;
