//! End to end: the real binary, started as a user would, judged by its public interfaces alone.

mod durability;
mod harness;
mod moving;
mod stack;
mod tools;
