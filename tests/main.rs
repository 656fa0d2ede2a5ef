//! The real server on real databases, asked over real connections. One binary, a file a subject.
#![cfg(test)]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod harness;

mod openapi;
mod architecture;
mod concurrency;
mod durability;
mod janitor;
mod migrations;
mod paging;
mod access;
mod smoke;
mod writer;
