-- In which form a password was hashed: `opaque`, as RFC 8265 composes it; without one, as it was sent.
ALTER TABLE accounts ADD COLUMN password_form TEXT;
