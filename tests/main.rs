//! The real server on real databases, asked over real connections. One binary, a file a subject.
#![cfg(test)]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod harness;

mod openapi;
mod durability;
mod janitor;
mod migrations;
mod smoke;
mod writer;
