//! The binary as a server, and its commands that talk to one.

mod people;
mod process;
mod secrets;
mod serve;
