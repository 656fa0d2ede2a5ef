ALTER TABLE tokens DROP COLUMN description;
