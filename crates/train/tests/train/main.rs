//! The trainer against tiny models: golden losses, invariances, damage, kills.

mod benchmark;
mod damage;
mod early;
mod estimate;
mod evaluation;
mod fixture;
mod gate;
mod golden;
mod kills;
mod learning;
mod ledger;
mod memory;
mod rows;
mod serving;
mod warm;
mod weights;
