//! The words every other crate speaks: labels, matchers, samples, histograms, durations, relabelling, and the
//! storage contract.
//!
//! A sample's way through this crate, from a page to a query:
//!
//! ```text
//! page -> (exposition) -> Labels + Timestamp + Value
//!      -> relabel::apply                     labels rewritten or the sample dropped
//!      -> storage::Appender::append          -> SeriesRef, kept by the scraper's cache
//!      -> storage::Appender::commit          whole scrape visible at once
//! Matchers -> storage::Querier::select -> SeriesSet -> Series::read -> Columns -> (promql)
//! ```
//!
//! Everything here is synchronous and reads no clock: time is an argument.

pub mod annotations;
pub mod bytes;
pub mod duration;
pub mod exemplar;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod metadata;
pub mod number;
pub mod pattern;
pub mod quote;
pub mod relabel;
pub mod sample;
pub mod storage;
