//! Metrics pages: parse and print them; the registry of the program's own instruments.
//!
//! A page's way through this crate:
//!
//! ```text
//! bytes -> parse::validate (UTF-8, once) -> parse::Parser::advance(predicted series)
//!       -> Entry::Sample { series: &str, value, timestamp, exemplar }   borrowed from the page, nothing allocated
//!       -> (scraper) series cache hit: done; miss: parse::series::labels_of -> model::Labels
//! ```
//!
//! and back: [`family::MetricFamily`] or [`registry::Registry`] -> [`mod@print`] -> a page.

pub mod escape;
pub mod family;
pub mod parse;
pub mod print;
pub mod registry;
pub mod structured;
