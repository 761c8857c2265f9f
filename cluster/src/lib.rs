//! A Kubernetes-compatible cluster API: store, watch, API server.
