//! The cluster as its clients see it: HTTP by hand, kube-rs, and the real kubectl, all over TLS.

mod crash;
mod harness;
mod kube_client;
mod kubectl;
mod objects;
mod pods;
mod refusals;
mod watches;
