DROP TABLE token_counts;
DROP TABLE tokens;
