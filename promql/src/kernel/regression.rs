//! Straight lines and smoothed curves through the samples of a window.

use super::kahan::Sum;

/// Slope per second, and the value at `time`, of the least-squares line. At least one sample.
pub(crate) fn line(times: &[i64], values: &[f64], time: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|v| *v == first) {
        // Also for one value only: the line is flat, unless it lies at infinity.
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x, mut y, mut xy, mut xx) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (&t, &value) in times.iter().zip(values) {
        let seconds = (t - time) as f64 / 1000.0;
        x.add(seconds);
        y.add(value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let n = values.len() as f64;
    let (x, y, xy, xx) = (x.sum + x.lost, y.sum + y.lost, xy.sum + xy.lost, xx.sum + xx.lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// Double exponential smoothing; at least two samples.
pub(crate) fn smooth(values: &[f64], smoothing: f64, trend_factor: f64) -> f64 {
    let mut previous = 0.0;
    let mut smoothed = values[0];
    let mut trend = values[1] - values[0];
    for (i, &value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trend_factor * (smoothed - previous) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (smoothed + trend);
        previous = smoothed;
        smoothed = next;
    }
    smoothed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let times: Vec<i64> = (0..10).map(|i| i * 10_000).collect();
        let values: Vec<f64> = times.iter().map(|t| 5.0 + *t as f64 / 1000.0 * 2.0).collect();
        let (slope, at) = line(&times, &values, 100_000);
        assert!((slope - 2.0).abs() < 1e-12 && (at - 205.0).abs() < 1e-9);
        assert_eq!(line(&[0, 1], &[3.0, 3.0], 7), (0.0, 3.0));
        assert!(line(&[0, 1], &[f64::INFINITY, f64::INFINITY], 7).0.is_nan());
    }

    #[test]
    fn smoothing_follows_a_line() {
        assert!((smooth(&[1.0, 2.0, 3.0, 4.0], 0.5, 0.5) - 4.0).abs() < 1e-12);
    }
}
