//! The real server on real databases, asked over real connections. One binary, a file a subject.
#![cfg(test)]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod harness;

mod access;
mod architecture;
mod bad_input;
mod catalog;
mod concurrency;
mod durability;
mod janitor;
mod migrations;
mod openapi;
mod operations;
mod paging;
mod program;
mod readme;
mod registries;
mod smoke;
mod tokens;
mod writer;
