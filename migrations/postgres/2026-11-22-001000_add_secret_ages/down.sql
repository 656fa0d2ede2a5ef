ALTER TABLE tokens DROP COLUMN previous_at;
ALTER TABLE registries DROP COLUMN maximum_secret_age;
