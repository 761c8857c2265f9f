//! End to end: the real binary, started as a user would, judged by its public interfaces alone.

mod access;
mod answers;
mod durability;
mod grafana;
mod harness;
mod moving;
mod scraping;
mod stack;
mod tools;
