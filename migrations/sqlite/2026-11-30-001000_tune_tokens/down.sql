-- Settings of PostgreSQL alone.
SELECT 1;
