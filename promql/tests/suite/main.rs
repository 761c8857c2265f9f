//! The crate's tests from outside.

mod scripts;
