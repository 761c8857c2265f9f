//! HTTP client and server settings, TLS, authentication, backoff, shutdown.

pub mod auth;
pub mod backoff;
pub mod client;
pub mod clock;
pub mod server;
pub mod shutdown;
pub mod tls;
