//! Functions over ranges of series that hold nothing but floats: the usual case, over plain slices.

use super::window::Call;
use crate::ast::Extension;
use crate::function::Window as Kind;
use crate::kernel::frames::{self, Frame, fill, running_count};
use crate::kernel::lanes::{self, Fold};
use crate::kernel::rate;
use crate::kernel::sliding::Extreme;
use crate::value::ABSENT;

/// Whether [`compute`] knows the function.
pub(super) fn knows(call: &Call) -> bool {
    let other = matches!(
        call.kind,
        Kind::Mad | Kind::TsOfMax | Kind::TsOfMin | Kind::Deriv | Kind::PredictLinear | Kind::Smoothing
    );
    call.extension == Extension::None && !other
}

/// Fills `out` with the values at all steps whose frame is not empty. `window` gives a step's excluded start and
/// included end.
pub(super) fn compute(
    call: &Call,
    (times, values): (&[i64], &[f64]),
    frames: &[Frame],
    window: impl Fn(usize) -> (i64, i64),
    out: &mut [f64],
) {
    let seconds = |at: usize| times[at] as f64 / 1000.0;
    match call.kind {
        Kind::Rate | Kind::Increase | Kind::Delta => {
            let kind = super::window::rate_kind(call.kind);
            let resets = if kind.counter { running_count(values, |a, b| b < a) } else { Vec::new() };
            let mut extrapolation = rate::Extrapolation::new(times, values, &resets, kind);
            fill(frames, out, |i, frame| extrapolation.of(frame, window(i)).unwrap_or(ABSENT));
        }
        Kind::Irate | Kind::Idelta => fill(frames, out, |_, (from, to)| {
            let pair = (to - from >= 2).then(|| (times[to - 1] - times[to - 2]) as f64 / 1000.0).filter(|s| *s != 0.0);
            let Some(interval) = pair else { return ABSENT };
            let (a, b) = (values[to - 2], values[to - 1]);
            if call.kind == Kind::Idelta { b - a } else { (if b < a { b } else { b - a }) / interval }
        }),
        Kind::Resets => {
            let resets = running_count(values, |a, b| b < a);
            fill(frames, out, |_, (from, to)| f64::from(resets[to - 1] - resets[from]));
        }
        Kind::Changes => {
            let changes = running_count(values, |a, b| a != b && !(a.is_nan() && b.is_nan()));
            fill(frames, out, |_, (from, to)| f64::from(changes[to - 1] - changes[from]));
        }
        Kind::Sum | Kind::Avg if !values.iter().all(|v| v.is_finite()) => {
            let filled: Vec<(usize, Frame)> =
                frames.iter().copied().enumerate().filter(|(_, (from, to))| from < to).collect();
            let fold = if call.kind == Kind::Sum { Fold::Sum } else { Fold::Mean };
            let frames: Vec<Frame> = filled.iter().map(|(_, frame)| *frame).collect();
            lanes::fold(fold, values, &frames, |at, value| out[filled[at].0] = value);
        }
        Kind::Sum | Kind::Avg => frames::sums(values, frames, call.kind == Kind::Avg, out),
        Kind::Stddev | Kind::Stdvar => frames::variances(values, frames, call.kind == Kind::Stddev, out),
        Kind::Max | Kind::Min => {
            let mut extreme = Extreme::new(values, call.kind == Kind::Max);
            fill(frames, out, |_, (from, to)| extreme.of(from, to - from));
        }
        Kind::Quantile => frames::quantiles(values, frames, |i| call.arg(0, i), out),
        Kind::Count => fill(frames, out, |_, (from, to)| (to - from) as f64),
        Kind::Present => fill(frames, out, |_, _| 1.0),
        Kind::First => fill(frames, out, |_, (from, _)| values[from]),
        Kind::Last => fill(frames, out, |_, (_, to)| values[to - 1]),
        Kind::TsOfFirst => fill(frames, out, |_, (from, _)| seconds(from)),
        Kind::TsOfLast => fill(frames, out, |_, (_, to)| seconds(to - 1)),
        Kind::Mad | Kind::TsOfMax | Kind::TsOfMin | Kind::Deriv | Kind::PredictLinear | Kind::Smoothing => {
            debug_assert!(false, "only functions that are known come here");
        }
    }
}
