-- Changes of many tokens, each confirmed once. wish: the filter, the action and the bounds of the set, as JSON.
-- credential, account_version, api_token: what the run was confirmed with, which each batch checks again.
-- at_registry, at_position: the place that the run has reached. finished_at: NULL while it is under way.
CREATE TABLE bulk_runs (
    key INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    uuid BLOB NOT NULL UNIQUE,
    account_key BIGINT NOT NULL,
    created_by BLOB NOT NULL,
    created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    credential TEXT NOT NULL,
    account_version BIGINT NOT NULL,
    api_token BLOB,
    address TEXT,
    request_id TEXT NOT NULL,
    wish TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    found BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    at_registry BIGINT,
    at_position BIGINT,
    worked_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX bulk_runs_account ON bulk_runs (account_key, key);
CREATE INDEX bulk_runs_finished_at ON bulk_runs (finished_at);
-- Tokens that a run was not permitted to change, up to a bound.
CREATE TABLE bulk_refusals (
    run_key BIGINT NOT NULL,
    number BIGINT NOT NULL,
    token BLOB NOT NULL,
    name TEXT NOT NULL,
    registry BLOB NOT NULL,
    registry_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (run_key, number)
);
