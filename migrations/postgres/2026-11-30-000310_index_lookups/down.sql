DROP INDEX tokens_lookup;
