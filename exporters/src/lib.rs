//! Collectors for the metrics of machines.
