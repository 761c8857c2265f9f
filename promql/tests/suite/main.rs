//! The crate's tests from outside.

mod engine;
mod language;
mod limits;
mod plans;
mod scripts;
