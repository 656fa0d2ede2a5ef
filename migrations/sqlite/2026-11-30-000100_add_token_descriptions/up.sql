-- A text of the owner, for people. A release before this one leaves it as it is.
ALTER TABLE tokens ADD COLUMN description TEXT;
