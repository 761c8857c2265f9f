//! Labels, matchers, samples, histograms, durations, relabelling, and the storage contract: the words every other crate speaks.
