//! The binary as a server, and its commands that talk to one.

mod create_job;
mod jobs;
mod ledger;
mod people;
mod process;
mod secrets;
mod serve;
mod thinking;
#[path = "../../../inference/tests/tiny/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod tiny;
