-- One chain for each process that writes. base: the last event that was cut off, or nothing; head: the last event.
-- seal: over all the other columns, by the data key.
CREATE TABLE audit_chains (
    chain INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    writer BLOB NOT NULL UNIQUE,
    opened_at BIGINT NOT NULL,
    data_key BIGINT NOT NULL,
    base_sequence BIGINT NOT NULL,
    base_mac BLOB NOT NULL,
    head_sequence BIGINT NOT NULL,
    head_mac BLOB NOT NULL,
    seal BLOB NOT NULL
);
-- mac: over the other columns and the mac of the event before.
CREATE TABLE audit_events (
    chain BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor BLOB,
    actor_name TEXT,
    registry BLOB,
    subject_kind TEXT NOT NULL,
    subject BLOB,
    address TEXT,
    request_id TEXT NOT NULL,
    detail TEXT NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (chain, sequence)
);
CREATE INDEX audit_events_at ON audit_events (at, chain, sequence);
CREATE INDEX audit_events_registry ON audit_events (registry, at, chain, sequence) WHERE registry IS NOT NULL;
CREATE INDEX audit_events_actor ON audit_events (actor, at, chain, sequence) WHERE actor IS NOT NULL;
CREATE INDEX audit_events_subject ON audit_events (subject, at, chain, sequence) WHERE subject IS NOT NULL;
