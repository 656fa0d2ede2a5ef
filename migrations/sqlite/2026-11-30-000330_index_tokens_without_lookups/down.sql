DROP INDEX tokens_without_lookup;
