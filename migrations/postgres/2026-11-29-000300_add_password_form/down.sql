ALTER TABLE accounts DROP COLUMN password_form;
