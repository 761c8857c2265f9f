//! The crate's tests from outside.

mod corpus;
mod engine;
mod language;
mod limits;
mod memory;
mod peer;
mod plans;
mod projection;
mod scripts;
mod spill;
