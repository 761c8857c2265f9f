//! Locks and atomics of this crate: `parking_lot`'s and the standard library's.
//!
//! Under test they are stand-ins that become the model checker's when they are made while it explores (see
//! `modelled.rs`), so that the very code that ships is what it schedules.

#[cfg(test)]
pub(crate) mod modelled;

#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicI64, AtomicU64};

#[cfg(not(test))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[cfg(test)]
pub(crate) use modelled::{AtomicI64, AtomicU64, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
