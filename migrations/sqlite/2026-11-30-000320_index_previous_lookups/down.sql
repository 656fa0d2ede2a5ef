DROP INDEX tokens_previous_lookup;
