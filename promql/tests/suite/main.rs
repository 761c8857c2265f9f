//! The crate's tests from outside.

mod engine;
mod language;
mod scripts;
