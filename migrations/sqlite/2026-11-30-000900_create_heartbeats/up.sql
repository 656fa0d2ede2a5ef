-- Heartbeats of the processes that serve, on PostgreSQL alone. See its migration of this name.
CREATE TABLE heartbeats (
    process BIGINT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    beaten_at BIGINT NOT NULL
);
