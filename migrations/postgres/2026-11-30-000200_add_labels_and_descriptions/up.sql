-- Texts of the owner for people, and labels to select by: a JSON object of strings without spaces, in the order of its
-- names, or NULL for none. A release before this one leaves them as they are.
ALTER TABLE tokens ADD COLUMN labels TEXT;
ALTER TABLE registries ADD COLUMN description TEXT;
ALTER TABLE registries ADD COLUMN labels TEXT;
ALTER TABLE accounts ADD COLUMN description TEXT;
ALTER TABLE api_tokens ADD COLUMN description TEXT;
