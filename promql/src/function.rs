//! The functions of PromQL: one row each, with its signature and what carries it out.

use crate::ast::ValueType::{self, Matrix, Scalar, String, Vector};

/// How many arguments may follow those that are required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variadic {
    /// None: exactly the signature.
    No,
    /// The last one may be left out or stand up to this many times.
    UpTo(usize),
    /// The last one may be left out or stand any number of times.
    Any,
}

/// A row of the table.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of its arguments; a variadic function repeats the last one.
    pub args: &'static [ValueType],
    /// Whether the last argument is optional or repeated.
    pub variadic: Variadic,
    /// Type of its value.
    pub returns: ValueType,
    /// Whether it needs the feature `promql-experimental-functions`.
    pub experimental: bool,
    /// What carries it out.
    pub(crate) apply: Apply,
}

impl Function {
    /// Whether it makes one series of each of its argument's, with the same labels but for what the metric is.
    pub(crate) fn keeps_labels(&self) -> bool {
        matches!(
            self.apply,
            Apply::Window(_)
                | Apply::Math(_)
                | Apply::Bounded(_)
                | Apply::Calendar(_)
                | Apply::Histogram(_)
                | Apply::Timestamp
                | Apply::StartTimestamp
        )
    }
}

/// What carries a function out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Apply {
    /// A kernel over the samples of a range.
    Window(Window),
    /// `absent_over_time`
    AbsentOverTime,
    /// A float to a float; histograms are left out.
    Math(fn(f64) -> f64),
    /// `clamp`, `clamp_min`, `clamp_max`, `round`.
    Bounded(Bounded),
    /// A part of the date of a timestamp in seconds.
    Calendar(Calendar),
    /// A number from a native histogram.
    Histogram(HistogramPart),
    /// `histogram_quantile`
    Quantile,
    /// `histogram_quantiles`
    Quantiles,
    /// `histogram_fraction`
    Fraction,
    /// `label_replace`
    LabelReplace,
    /// `label_join`
    LabelJoin,
    /// `sort` and its kin.
    Sort(Sort),
    /// `absent`
    Absent,
    /// `scalar`
    Scalar,
    /// `vector`
    Vector,
    /// `timestamp`
    Timestamp,
    /// `start_timestamp`
    StartTimestamp,
    /// `info`
    Info,
    /// A number known when the query is planned, or per step.
    Clock(Clock),
    /// `max_of`
    MaxOf,
    /// `min_of`
    MinOf,
}

/// Functions of ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    Avg,
    Changes,
    Count,
    Delta,
    Deriv,
    First,
    Idelta,
    Increase,
    Irate,
    Last,
    Mad,
    Max,
    Min,
    PredictLinear,
    Present,
    Quantile,
    Rate,
    Resets,
    Smoothing,
    Stddev,
    Stdvar,
    Sum,
    TsOfFirst,
    TsOfLast,
    TsOfMax,
    TsOfMin,
}

/// Functions that bound or round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bounded {
    Clamp,
    ClampMax,
    ClampMin,
    Round,
}

/// Parts of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calendar {
    DaysInMonth,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hour,
    Minute,
    Month,
    Year,
}

/// Numbers that describe a native histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistogramPart {
    Avg,
    Count,
    Stddev,
    Stdvar,
    Sum,
}

/// Orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Value { descending: bool },
    Label { descending: bool },
}

/// Numbers of the query itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    End,
    Pi,
    Range,
    Start,
    Step,
    Time,
}

const fn row(name: &'static str, args: &'static [ValueType], returns: ValueType, apply: Apply) -> Function {
    Function { name, args, variadic: Variadic::No, returns, experimental: false, apply }
}

const fn window(name: &'static str, window: Window) -> Function {
    row(name, &[Matrix], Vector, Apply::Window(window))
}

const fn math(name: &'static str, map: fn(f64) -> f64) -> Function {
    row(name, &[Vector], Vector, Apply::Math(map))
}

const fn calendar(name: &'static str, part: Calendar) -> Function {
    row(name, &[Vector], Vector, Apply::Calendar(part)).variadic(Variadic::UpTo(1))
}

const fn histogram(name: &'static str, part: HistogramPart) -> Function {
    row(name, &[Vector], Vector, Apply::Histogram(part))
}

const fn clock(name: &'static str, clock: Clock) -> Function {
    row(name, &[], Scalar, Apply::Clock(clock))
}

impl Function {
    const fn variadic(mut self, variadic: Variadic) -> Self {
        self.variadic = variadic;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }

    /// How many arguments must be given.
    pub fn required(&self) -> usize {
        match self.variadic {
            Variadic::No => self.args.len(),
            Variadic::UpTo(_) | Variadic::Any => self.args.len() - 1,
        }
    }

    /// How many arguments may be given; `None` for any number.
    pub fn allowed(&self) -> Option<usize> {
        match self.variadic {
            Variadic::No => Some(self.args.len()),
            Variadic::UpTo(more) => Some(self.args.len() - 1 + more),
            Variadic::Any => None,
        }
    }
}

/// All functions, by name.
pub static FUNCTIONS: &[Function] = &[
    math("abs", f64::abs),
    row("absent", &[Vector], Vector, Apply::Absent),
    row("absent_over_time", &[Matrix], Vector, Apply::AbsentOverTime),
    math("acos", f64::acos),
    math("acosh", f64::acosh),
    math("asin", f64::asin),
    math("asinh", f64::asinh),
    math("atan", f64::atan),
    math("atanh", f64::atanh),
    window("avg_over_time", Window::Avg),
    math("ceil", f64::ceil),
    window("changes", Window::Changes),
    row("clamp", &[Vector, Scalar, Scalar], Vector, Apply::Bounded(Bounded::Clamp)),
    row("clamp_max", &[Vector, Scalar], Vector, Apply::Bounded(Bounded::ClampMax)),
    row("clamp_min", &[Vector, Scalar], Vector, Apply::Bounded(Bounded::ClampMin)),
    math("cos", f64::cos),
    math("cosh", f64::cosh),
    window("count_over_time", Window::Count),
    calendar("day_of_month", Calendar::DayOfMonth),
    calendar("day_of_week", Calendar::DayOfWeek),
    calendar("day_of_year", Calendar::DayOfYear),
    calendar("days_in_month", Calendar::DaysInMonth),
    math("deg", |v| v * 180.0 / std::f64::consts::PI),
    window("delta", Window::Delta),
    window("deriv", Window::Deriv),
    row("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector, Apply::Window(Window::Smoothing))
        .experimental(),
    clock("end", Clock::End).experimental(),
    math("exp", f64::exp),
    window("first_over_time", Window::First),
    math("floor", f64::floor),
    histogram("histogram_avg", HistogramPart::Avg),
    histogram("histogram_count", HistogramPart::Count),
    row("histogram_fraction", &[Scalar, Scalar, Vector], Vector, Apply::Fraction),
    row("histogram_quantile", &[Scalar, Vector], Vector, Apply::Quantile),
    row("histogram_quantiles", &[Vector, String, Scalar, Scalar], Vector, Apply::Quantiles)
        .variadic(Variadic::UpTo(9))
        .experimental(),
    histogram("histogram_stddev", HistogramPart::Stddev),
    histogram("histogram_stdvar", HistogramPart::Stdvar),
    histogram("histogram_sum", HistogramPart::Sum),
    calendar("hour", Calendar::Hour),
    window("idelta", Window::Idelta),
    window("increase", Window::Increase),
    row("info", &[Vector, Vector], Vector, Apply::Info).variadic(Variadic::UpTo(1)).experimental(),
    window("irate", Window::Irate),
    row("label_join", &[Vector, String, String, String], Vector, Apply::LabelJoin).variadic(Variadic::Any),
    row("label_replace", &[Vector, String, String, String, String], Vector, Apply::LabelReplace),
    window("last_over_time", Window::Last),
    math("ln", f64::ln),
    math("log10", f64::log10),
    math("log2", f64::log2),
    window("mad_over_time", Window::Mad).experimental(),
    row("max_of", &[Scalar, Scalar], Scalar, Apply::MaxOf).experimental(),
    window("max_over_time", Window::Max),
    row("min_of", &[Scalar, Scalar], Scalar, Apply::MinOf).experimental(),
    window("min_over_time", Window::Min),
    calendar("minute", Calendar::Minute),
    calendar("month", Calendar::Month),
    clock("pi", Clock::Pi),
    row("predict_linear", &[Matrix, Scalar], Vector, Apply::Window(Window::PredictLinear)),
    window("present_over_time", Window::Present),
    row("quantile_over_time", &[Scalar, Matrix], Vector, Apply::Window(Window::Quantile)),
    math("rad", |v| v * std::f64::consts::PI / 180.0),
    clock("range", Clock::Range).experimental(),
    window("rate", Window::Rate),
    window("resets", Window::Resets),
    row("round", &[Vector, Scalar], Vector, Apply::Bounded(Bounded::Round)).variadic(Variadic::UpTo(1)),
    row("scalar", &[Vector], Scalar, Apply::Scalar),
    math("sgn", sign),
    math("sin", f64::sin),
    math("sinh", f64::sinh),
    row("sort", &[Vector], Vector, Apply::Sort(Sort::Value { descending: false })),
    row("sort_by_label", &[Vector, String], Vector, Apply::Sort(Sort::Label { descending: false }))
        .variadic(Variadic::Any)
        .experimental(),
    row("sort_by_label_desc", &[Vector, String], Vector, Apply::Sort(Sort::Label { descending: true }))
        .variadic(Variadic::Any)
        .experimental(),
    row("sort_desc", &[Vector], Vector, Apply::Sort(Sort::Value { descending: true })),
    math("sqrt", f64::sqrt),
    clock("start", Clock::Start).experimental(),
    row("start_timestamp", &[Vector], Vector, Apply::StartTimestamp).experimental(),
    window("stddev_over_time", Window::Stddev),
    window("stdvar_over_time", Window::Stdvar),
    clock("step", Clock::Step).experimental(),
    window("sum_over_time", Window::Sum),
    math("tan", f64::tan),
    math("tanh", f64::tanh),
    clock("time", Clock::Time),
    row("timestamp", &[Vector], Vector, Apply::Timestamp),
    window("ts_of_first_over_time", Window::TsOfFirst).experimental(),
    window("ts_of_last_over_time", Window::TsOfLast).experimental(),
    window("ts_of_max_over_time", Window::TsOfMax).experimental(),
    window("ts_of_min_over_time", Window::TsOfMin).experimental(),
    row("vector", &[Scalar], Vector, Apply::Vector),
    calendar("year", Calendar::Year),
];

/// -1, 0 or 1 by sign; NaN and the zeros stay themselves.
fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// The function of that name.
pub fn find(name: &str) -> Option<&'static Function> {
    let at = FUNCTIONS.binary_search_by(|row| row.name.cmp(name)).ok()?;
    Some(&FUNCTIONS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_name_and_found() {
        assert!(FUNCTIONS.windows(2).all(|w| w[0].name < w[1].name));
        assert!(FUNCTIONS.iter().all(|row| std::ptr::eq(find(row.name).unwrap(), row)));
        assert!(find("rates").is_none());
    }
}
