//! The crate's tests from outside.

mod corpus;
mod engine;
mod language;
mod limits;
mod peer;
mod plans;
mod scripts;
