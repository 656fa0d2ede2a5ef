DROP INDEX signing_keys_role_end;
DROP INDEX tokens_disabled;
