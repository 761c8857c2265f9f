//! Metrics over OTLP: from OpenTelemetry's resources, scopes and data points to series and samples, as the
//! specification's page on compatibility with Prometheus has it and as Prometheus does it.

mod attributes;
mod convert;
mod delta;
mod histogram;
mod names;

pub use convert::{Converter, OtlpOptions};
pub use delta::DeltaState;
