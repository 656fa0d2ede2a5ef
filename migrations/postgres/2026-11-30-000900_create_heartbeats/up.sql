-- Heartbeats of the processes that serve: a number that each raises every second, to learn if the server that it reads
-- from is the one that it writes to. process: a number that the process chose. beaten_at: microseconds since 1970 by
-- the database's clock. Half of each page is free, so that an update needs no second page.
CREATE TABLE heartbeats (
    process BIGINT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    beaten_at BIGINT NOT NULL
) WITH (fillfactor = 50);
