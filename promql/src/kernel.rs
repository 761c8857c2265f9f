//! The arithmetic of PromQL: free functions over slices, without labels, clocks or storage.

pub(crate) mod arithmetic;
pub(crate) mod calendar;
pub(crate) mod classic;
pub(crate) mod double;
pub(crate) mod extended;
pub(crate) mod frames;
pub(crate) mod kahan;
pub(crate) mod lanes;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod rate;
pub(crate) mod regression;
pub(crate) mod sliding;
pub(crate) mod start;
pub(crate) mod window;
