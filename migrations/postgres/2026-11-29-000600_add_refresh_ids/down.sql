ALTER TABLE accounts DROP COLUMN refresh_id;
ALTER TABLE tokens DROP COLUMN refresh_id;
