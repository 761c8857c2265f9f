//! A Kubernetes-compatible cluster API: store, watch, API server, controllers.
//!
//! The way of an object:
//!
//! 1. `apiserver` takes the request: who asks (`authn`), for what (`route`, `options`), with which body (`body`,
//!    `protobuf`, `patch`), all shaped by one table of messages (`api::schema`).
//! 2. `objects` applies the rules: identity, defaults, validation, optimistic concurrency, grace and finalizers. The
//!    row of the kind in `api` says what is particular to it.
//! 3. `store` gives the write its revision and makes it durable, many writes per fsync.
//! 4. Watchers follow the store's history: clients through `apiserver::stream`, the actors in `controller` (endpoints
//!    of services, namespaces, events, the agent of this machine) through the same cursors.
//! 5. `app` puts it together, with certificates, a token and a kubeconfig; `client::Local` is the way in from within.

pub mod api;
pub mod apiserver;
pub mod app;
pub mod client;
pub mod controller;
pub mod objects;
pub mod store;
