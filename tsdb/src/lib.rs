//! The time series database: head, WAL, chunks, index, queries, in Prometheus' on-disk formats.
