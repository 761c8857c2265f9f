//! Flags of scraping.

use clap::{ArgAction, Args};
use model::duration::Duration;

/// Hidden, as upstream's are.
#[derive(Debug, Clone, Args)]
pub struct ScrapeFlags {
    /// Whether a scrape that is late by no more than the tolerance bears the time it was due
    #[arg(long = "scrape.adjust-timestamps", hide = true, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub adjust_timestamps: bool,
    /// How late that may be, at most a hundredth of the scrape interval
    #[arg(long = "scrape.timestamp-tolerance", hide = true, default_value = "2ms")]
    pub timestamp_tolerance: Duration,
}

impl ScrapeFlags {
    /// How far a scrape may be from its time and still bear it.
    pub fn tolerance(&self) -> Duration {
        if self.adjust_timestamps { self.timestamp_tolerance } else { Duration::default() }
    }
}
