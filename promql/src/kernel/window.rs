//! Windows over the samples of one series: floats and histograms apart, stale markers left out.

use std::borrow::Cow;
use std::sync::Arc;

use model::histogram::FloatHistogram;
use model::sample::is_stale;
use model::storage::Columns;

use super::start::Starts;

/// All samples of a series, floats and histograms apart, each in order of time.
pub(crate) struct Samples<'a> {
    float_times: Cow<'a, [i64]>,
    floats: Cow<'a, [f64]>,
    histogram_times: Vec<i64>,
    histograms: Vec<Arc<FloatHistogram>>,
    /// Start timestamps of the floats and of the histograms; empty if none is known.
    float_starts: Vec<i64>,
    histogram_starts: Vec<i64>,
}

/// The samples of one window. Floats and histograms reach over the window's own range if it was opened wider.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) float_times: &'a [i64],
    pub(crate) floats: &'a [f64],
    pub(crate) histogram_times: &'a [i64],
    pub(crate) histograms: &'a [Arc<FloatHistogram>],
    pub(crate) float_starts: Starts<'a>,
    pub(crate) histogram_starts: Starts<'a>,
    /// Index of the first float and of the first histogram in the series.
    pub(crate) first_float: usize,
    pub(crate) first_histogram: usize,
    /// Excluded.
    pub(crate) start: i64,
    /// Included.
    pub(crate) end: i64,
    /// The time the expression is evaluated at.
    pub(crate) time: i64,
}

/// Where a window lies, and by how much it is opened wider for functions that look around it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// Excluded.
    pub(crate) start: i64,
    /// Included.
    pub(crate) end: i64,
    /// Milliseconds before the start.
    pub(crate) before: i64,
    /// Milliseconds after the end.
    pub(crate) after: i64,
    /// The time the expression is evaluated at.
    pub(crate) time: i64,
}

impl<'a> Samples<'a> {
    /// The samples without their start timestamps.
    pub(crate) fn of(columns: &'a Columns) -> Self {
        let clean = columns.histograms.is_empty() && !columns.values.iter().any(|v| is_stale(*v));
        if clean {
            return Self {
                float_times: Cow::Borrowed(&columns.timestamps),
                floats: Cow::Borrowed(&columns.values),
                histogram_times: Vec::new(),
                histograms: Vec::new(),
                float_starts: Vec::new(),
                histogram_starts: Vec::new(),
            };
        }
        let (mut float_times, mut floats) = (Vec::new(), Vec::new());
        let (mut histogram_times, mut histograms) = (Vec::new(), Vec::new());
        let mut next = columns.histograms.iter().peekable();
        for (i, (&time, &value)) in columns.timestamps.iter().zip(&columns.values).enumerate() {
            let histogram = next.next_if(|(at, _)| *at as usize == i);
            match histogram {
                _ if is_stale(value) => {}
                Some((_, histogram)) => {
                    histogram_times.push(time);
                    histograms.push(Arc::clone(histogram));
                }
                None => {
                    float_times.push(time);
                    floats.push(value);
                }
            }
        }
        Self {
            float_times: Cow::Owned(float_times),
            floats: Cow::Owned(floats),
            histogram_times,
            histograms,
            float_starts: Vec::new(),
            histogram_starts: Vec::new(),
        }
    }

    /// The samples with their start timestamps, where the series has any.
    pub(crate) fn started(columns: &'a Columns) -> Self {
        let mut samples = Self::of(columns);
        if columns.starts.iter().all(|start| *start == 0) {
            return samples;
        }
        let mut histograms = columns.histograms.iter().map(|(at, _)| *at as usize).peekable();
        for (i, value) in columns.values.iter().enumerate() {
            let of_kind = match histograms.next_if_eq(&i) {
                Some(_) => &mut samples.histogram_starts,
                None => &mut samples.float_starts,
            };
            if !is_stale(*value) {
                of_kind.push(columns.start_at(i));
            }
        }
        samples
    }

    /// Times and start timestamps of the floats.
    pub(crate) fn float_starts(&self) -> Starts<'_> {
        Starts::new(&self.float_times, &self.float_starts)
    }

    pub(crate) fn floats(&self) -> &[f64] {
        &self.floats
    }

    /// Times and values, if there is nothing but floats without start timestamps.
    pub(crate) fn plain(&self) -> Option<(&[i64], &[f64])> {
        (self.histograms.is_empty() && self.float_starts.is_empty()).then_some((&*self.float_times, &*self.floats))
    }

    /// Times and start timestamps of the histograms.
    pub(crate) fn histogram_starts(&self) -> Starts<'_> {
        Starts::new(&self.histogram_times, &self.histogram_starts)
    }

    pub(crate) fn histograms(&self) -> &[Arc<FloatHistogram>] {
        &self.histograms
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// Opens a window at every step, in order; the bounds must not move back. Empty windows are skipped.
    pub(crate) fn each(
        &self,
        count: usize,
        bounds: impl Fn(usize) -> Bounds,
        mut visit: impl FnMut(usize, &Window<'_>),
    ) {
        let (mut float_from, mut float_to) = (0, 0);
        let (mut histogram_from, mut histogram_to) = (0, 0);
        for i in 0..count {
            let Bounds { start, end, before, after, time } = bounds(i);
            let (low, high) = (start.saturating_sub(before), end.saturating_add(after));
            float_to = advance(&self.float_times, float_to, high);
            float_from = advance(&self.float_times, float_from, low);
            histogram_to = advance(&self.histogram_times, histogram_to, high);
            histogram_from = advance(&self.histogram_times, histogram_from, low);
            let window = Window {
                float_times: &self.float_times[float_from..float_to],
                floats: &self.floats[float_from..float_to],
                histogram_times: &self.histogram_times[histogram_from..histogram_to],
                histograms: &self.histograms[histogram_from..histogram_to],
                float_starts: part(&self.float_times, &self.float_starts, float_from, float_to),
                histogram_starts: part(&self.histogram_times, &self.histogram_starts, histogram_from, histogram_to),
                first_float: float_from,
                first_histogram: histogram_from,
                start,
                end,
                time,
            };
            if window.len() > 0 {
                visit(i, &window);
            }
        }
    }
}

fn part<'a>(times: &'a [i64], starts: &'a [i64], from: usize, to: usize) -> Starts<'a> {
    if starts.is_empty() { Starts::default() } else { Starts::new(&times[from..to], &starts[from..to]) }
}

/// The first index from `from` on whose time is after `time`.
#[inline]
fn advance(times: &[i64], mut from: usize, time: i64) -> usize {
    while from < times.len() && times[from] <= time {
        from += 1;
    }
    from
}

impl Window<'_> {
    pub(crate) fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Whether it holds floats and histograms.
    pub(crate) fn is_mixed(&self) -> bool {
        !self.floats.is_empty() && !self.histograms.is_empty()
    }
}

/// What a window comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// Nothing.
    None,
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(FloatHistogram),
}

impl From<f64> for Output {
    fn from(value: f64) -> Self {
        Output::Float(value)
    }
}

/// What windows of a series had that their user should know; told once per series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    pub(crate) mixed: bool,
    pub(crate) histogram_ignored: bool,
    pub(crate) not_counter: bool,
    pub(crate) not_gauge: bool,
    pub(crate) mixed_custom: bool,
    pub(crate) reconciled_addition: bool,
    pub(crate) reconciled_subtraction: bool,
    pub(crate) reconciled_aggregation: bool,
    pub(crate) collision_aggregation: bool,
    pub(crate) start_overlap: bool,
}

#[cfg(test)]
mod tests {
    use model::sample::STALE_NAN;

    use super::*;

    #[test]
    fn windows_are_open_on_the_left_and_skip_stale_markers() {
        let mut columns = Columns::default();
        for (time, value) in [(0, 1.0), (10, 2.0), (20, STALE_NAN), (30, 3.0)] {
            columns.push_float(time, value);
        }
        let samples = Samples::of(&columns);
        let mut seen = Vec::new();
        let bounds = |i: usize| Bounds { start: i as i64 * 10 - 10, end: i as i64 * 10, ..Bounds::default() };
        samples.each(5, bounds, |i, w| seen.push((i, w.floats.to_vec())));
        assert_eq!(seen, [(0, vec![1.0]), (1, vec![2.0]), (3, vec![3.0])]);
    }
}
