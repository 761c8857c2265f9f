//! HTTP client and server settings, TLS, authentication, backoff, shutdown; faults of configuration files.

pub mod auth;
pub mod backoff;
pub mod client;
pub mod clock;
pub mod server;
pub mod shutdown;
pub mod tls;
pub mod yaml;
