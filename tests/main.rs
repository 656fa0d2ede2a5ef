//! The real server on real databases, asked over real connections. One binary, a file a subject.
#![cfg(test)]
#![expect(unreachable_pub, reason = "a test binary has no outside")]
#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "tables of cases are long, and are read best where they are written"
)]

mod harness;

mod access;
mod allow_lists;
mod api_tokens;
mod app_tokens;
mod architecture;
mod audit;
mod backup;
mod bad_input;
mod bulk;
mod caps;
mod catalog;
mod check;
mod commands;
mod concurrency;
mod database_file;
mod descriptions;
mod documents;
mod durability;
mod errors;
mod escalation;
mod estate;
mod evaluation;
mod fence;
mod frozen;
mod hardening;
mod idempotency;
mod issuers;
mod janitor;
mod labels;
mod leaks;
mod lists;
mod lives;
mod lookups;
mod me;
mod members;
mod memory;
mod metrics;
mod migrations;
mod model;
mod openapi;
mod operations;
mod paging;
mod poolers;
mod preconditions;
mod program;
mod quay;
mod readme;
mod registries;
mod registry_api_tokens;
mod registry_auth;
mod rewrap;
mod rotation;
mod signing;
mod smoke;
mod stackrox;
mod standby;
mod starting;
mod statements;
mod surfaces;
mod throttle;
mod tls;
mod tokens;
mod trusts;
mod unicode;
mod uses;
mod wire;
mod workload;
mod writer;
