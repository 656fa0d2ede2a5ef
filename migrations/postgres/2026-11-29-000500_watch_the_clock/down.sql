DROP INDEX signing_keys_begin;
DROP TABLE janitor_clock;
