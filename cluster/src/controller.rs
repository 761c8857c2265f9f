//! Actors that keep the cluster in order. Each follows a few resources through a watch and writes through the rules of
//! objects like every other client. All are idempotent: after a restart they look at everything once.

pub mod endpoints;
pub mod events;
mod follow;
pub mod host;
pub mod namespaces;
