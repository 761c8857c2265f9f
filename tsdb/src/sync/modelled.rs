//! Stand-ins for locks and atomics that are the model checker's if they are made while it explores, else the real ones.
//!
//! A thread of the model is a coroutine: whatever it may hold while another one runs must be made here.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use shuttle::sync as model;

/// Bytes of a modelled thread's stack.
const STACK_BYTES: usize = 1 << 20;

thread_local! {
    static IS_EXPLORING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` under so many schedules, each with other switches between its threads.
pub(crate) fn explore(schedules: usize, work: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK_BYTES;
    IS_EXPLORING.set(true);
    shuttle::Runner::new(shuttle::scheduler::RandomScheduler::new(schedules), config).run(work);
    IS_EXPLORING.set(false);
}

fn is_exploring() -> bool {
    IS_EXPLORING.get()
}

macro_rules! guard {
    ($name:ident, $real:ident) => {
        #[allow(missing_docs, reason = "named as what it stands for")]
        pub(crate) enum $name<'a, T> {
            Real(parking_lot::$real<'a, T>),
            Modelled(model::$real<'a, T>),
        }

        impl<T> Deref for $name<'_, T> {
            type Target = T;

            fn deref(&self) -> &T {
                match self {
                    Self::Real(guard) => guard,
                    Self::Modelled(guard) => guard,
                }
            }
        }

        impl<T> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

guard!(MutexGuard, MutexGuard);
guard!(RwLockReadGuard, RwLockReadGuard);
guard!(RwLockWriteGuard, RwLockWriteGuard);

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Real(guard) => guard,
            Self::Modelled(guard) => guard,
        }
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Real(guard) => guard,
            Self::Modelled(guard) => guard,
        }
    }
}

macro_rules! stand_in {
    ($name:ident) => {
        #[allow(missing_docs, reason = "named as what it stands for")]
        pub(crate) enum $name<T> {
            Real(parking_lot::$name<T>),
            Modelled(model::$name<T>),
        }

        impl<T> $name<T> {
            pub(crate) fn new(value: T) -> Self {
                if is_exploring() {
                    Self::Modelled(model::$name::new(value))
                } else {
                    Self::Real(parking_lot::$name::new(value))
                }
            }
        }

        impl<T: Default> Default for $name<T> {
            fn default() -> Self {
                Self::new(T::default())
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

stand_in!(Mutex);
stand_in!(RwLock);

impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self {
            Self::Real(lock) => MutexGuard::Real(lock.lock()),
            Self::Modelled(lock) => MutexGuard::Modelled(lock.lock().unwrap()),
        }
    }
}

impl<T> RwLock<T> {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        match self {
            Self::Real(lock) => RwLockReadGuard::Real(lock.read()),
            Self::Modelled(lock) => RwLockReadGuard::Modelled(lock.read().unwrap()),
        }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self {
            Self::Real(lock) => RwLockWriteGuard::Real(lock.write()),
            Self::Modelled(lock) => RwLockWriteGuard::Modelled(lock.write().unwrap()),
        }
    }
}

macro_rules! atomic {
    ($name:ident, $number:ty) => {
        #[derive(Debug)]
        #[allow(missing_docs, reason = "named as what it stands for")]
        pub(crate) enum $name {
            Real(std::sync::atomic::$name),
            Modelled(model::atomic::$name),
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }

        impl $name {
            pub(crate) fn new(number: $number) -> Self {
                if is_exploring() {
                    Self::Modelled(model::atomic::$name::new(number))
                } else {
                    Self::Real(std::sync::atomic::$name::new(number))
                }
            }

            pub(crate) fn load(&self, order: Ordering) -> $number {
                match self {
                    Self::Real(atomic) => atomic.load(order),
                    Self::Modelled(atomic) => atomic.load(order),
                }
            }

            pub(crate) fn store(&self, number: $number, order: Ordering) {
                match self {
                    Self::Real(atomic) => atomic.store(number, order),
                    Self::Modelled(atomic) => atomic.store(number, order),
                }
            }

            pub(crate) fn fetch_max(&self, number: $number, order: Ordering) -> $number {
                match self {
                    Self::Real(atomic) => atomic.fetch_max(number, order),
                    Self::Modelled(atomic) => atomic.fetch_max(number, order),
                }
            }
        }
    };
}

atomic!(AtomicI64, i64);
atomic!(AtomicU64, u64);

impl AtomicI64 {
    pub(crate) fn fetch_min(&self, number: i64, order: Ordering) -> i64 {
        match self {
            Self::Real(atomic) => atomic.fetch_min(number, order),
            Self::Modelled(atomic) => atomic.fetch_min(number, order),
        }
    }
}

impl AtomicU64 {
    pub(crate) fn fetch_add(&self, number: u64, order: Ordering) -> u64 {
        match self {
            Self::Real(atomic) => atomic.fetch_add(number, order),
            Self::Modelled(atomic) => atomic.fetch_add(number, order),
        }
    }
}
