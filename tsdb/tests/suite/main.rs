//! What only shows from outside: a real Prometheus on our directories and we on its.

mod blocks;
mod prometheus;
mod side_by_side;
