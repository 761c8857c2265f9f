//! Expressions at random, of what 2.42 and 3.x have in common.

use super::data::START;

/// Numbers that follow from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// How high expressions grow.
const HEIGHT_MAX: u32 = 3;

pub(crate) struct Generator {
    random: Random,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed) }
    }

    /// Start, end and step in seconds.
    ///
    /// All windows lie behind the first sample: how rates reach back to where a series begins has changed since 2.42.
    pub(crate) fn times(&mut self) -> (i64, i64, i64) {
        let start = START + 1500 + 10 * self.random.below(150) as i64;
        let step = [10, 30, 60, 300][self.random.below(4) as usize];
        (start, start + step * self.random.below(30) as i64, step)
    }

    /// An expression that gives an instant vector.
    pub(crate) fn expression(&mut self) -> String {
        self.vector(HEIGHT_MAX)
    }

    fn selector(&mut self) -> String {
        let metric = self.random.pick(&["c_total", "g", "odd", "g", "odd", "info", "h_bucket", "h_count", "absent"]);
        let matchers =
            ["", "", "", "{job=\"a\"}", "{job!=\"b\"}", "{job=~\"a|c\"}", "{instance!~\"[01]\"}", "{job=~\".*\"}"];
        format!("{metric}{}", self.random.pick(&matchers))
    }

    fn shift(&mut self) -> &'static str {
        self.random.pick(&[
            "",
            "",
            "",
            "",
            " offset 1m",
            " offset -3m",
            " @ 1599999400",
            " @ end()",
            " @ start() offset 2m",
        ])
    }

    fn range(&mut self, height: u32) -> String {
        if height > 0 && self.random.below(5) == 0 {
            let inner = self.vector(height - 1);
            // No multiple of the step: no value lies on an edge.
            let range = self.random.pick(&["[5m7s:1m]", "[10m7s:30s]", "[2m7s:20s]"]);
            let shift = self.random.pick(&["", "", " offset 1m"]);
            return format!("({inner}){range}{shift}");
        }
        let (selector, shift) = (self.selector(), self.shift());
        let range = self.random.pick(&["[1m]", "[5m]", "[77s]", "[20m]"]);
        format!("{selector}{range}{shift}")
    }

    fn scalar(&mut self, height: u32) -> String {
        match self.random.below(6) {
            0 => "time()".to_owned(),
            1 if height > 0 => format!("scalar({})", self.vector(height - 1)),
            _ => self.random.pick(&["1", "2", "0", "-1", "0.5", "1e3", "Inf", "NaN"]).to_owned(),
        }
    }

    fn vector(&mut self, height: u32) -> String {
        if height == 0 {
            return format!("{}{}", self.selector(), self.shift());
        }
        let below = height - 1;
        match self.random.below(12) {
            0 => format!("{}{}", self.selector(), self.shift()),
            1..=3 => self.over_range(below),
            4 | 5 => self.aggregation(below),
            6 | 7 => self.function(below),
            8 => format!("-({})", self.vector(below)),
            _ => self.operation(below),
        }
    }

    fn over_range(&mut self, height: u32) -> String {
        let functions = [
            "delta",
            "irate",
            "idelta",
            "deriv",
            "resets",
            "changes",
            "sum_over_time",
            "min_over_time",
            "max_over_time",
            "count_over_time",
            "stddev_over_time",
            "stdvar_over_time",
            "last_over_time",
            "present_over_time",
            "absent_over_time",
        ];
        if self.random.below(5) == 0 {
            // How they reach into gaps has changed too: of series without.
            let (function, metric) =
                (self.random.pick(&["rate", "increase"]), self.random.pick(&["c_total", "g", "h_sum"]));
            let (range, shift) = (self.random.pick(&["[1m]", "[5m]", "[20m]"]), self.random.pick(&["", " offset 1m"]));
            return format!("{function}({metric}{range}{shift})");
        }
        let range = self.range(height);
        match self.random.below(20) {
            // 2.42 forgets the window of a fixed time after the first step.
            0 if !range.contains('@') => format!("predict_linear({range}, 600)"),
            1 => format!("quantile_over_time({}, {range})", self.random.pick(&["0", "0.3", "0.9", "1", "2", "-1"])),
            _ => format!("{}({range})", self.random.pick(&functions)),
        }
    }

    fn grouping(&mut self) -> &'static str {
        self.random.pick(&[
            "",
            "",
            " by (job)",
            " by (job, instance)",
            " without (instance)",
            " by (nope)",
            " without (le)",
        ])
    }

    fn aggregation(&mut self, height: u32) -> String {
        let grouping = self.grouping();
        match self.random.below(10) {
            // Of equal values either may be kept: only values that differ.
            0 => format!("topk{grouping} ({}, g)", self.random.pick(&["1", "3", "0"])),
            1 => format!("bottomk{grouping} ({}, g)", self.random.pick(&["1", "2"])),
            2 => format!("quantile{grouping} ({}, {})", self.random.pick(&["0.1", "0.5", "1.5"]), self.vector(height)),
            // A mean is rounded otherwise in 2.42, which shows where it is a whole number: not of these.
            5 => format!("avg{grouping} (g)"),
            6 => format!("avg_over_time(g{})", self.random.pick(&["[1m]", "[5m] offset 1m", "[20m]"])),
            // Of values that are never NaN, whose deviation is 0 in 2.42.
            4 => format!("{}{grouping} (g)", self.random.pick(&["stddev", "stdvar"])),
            3 => format!("count_values{grouping} (\"v\", odd)"),
            _ => {
                let op = self.random.pick(&["sum", "min", "max", "count", "group"]);
                format!("{op}{grouping} ({})", self.vector(height))
            }
        }
    }

    fn function(&mut self, height: u32) -> String {
        let vector = self.vector(height);
        match self.random.below(12) {
            0 => format!("clamp({vector}, {}, {})", self.scalar(height), self.scalar(height)),
            1 => format!("clamp_max({vector}, {})", self.scalar(height)),
            2 => format!("round({vector}, {})", self.random.pick(&["1", "0.5", "10"])),
            3 => format!("label_replace({vector}, \"x\", \"$1-y\", \"job\", \"(.*)\")"),
            4 => format!("label_join({vector}, \"x\", \"-\", \"job\", \"instance\")"),
            5 => "histogram_quantile(0.9, rate(h_bucket[5m]))".to_owned(),
            6 => format!("histogram_quantile({}, sum by (le) (h_bucket))", self.scalar(0)),
            7 => format!("absent({vector})"),
            8 => format!("timestamp({vector})"),
            9 => format!("vector({})", self.scalar(height)),
            _ => {
                let functions = [
                    "abs",
                    "ceil",
                    "floor",
                    "exp",
                    "sqrt",
                    "ln",
                    "sgn",
                    "log2",
                    "cos",
                    "deg",
                    "hour",
                    "minute",
                    "month",
                    "day_of_week",
                    "days_in_month",
                    "sort",
                ];
                format!("{}({vector})", self.random.pick(&functions))
            }
        }
    }

    fn operation(&mut self, height: u32) -> String {
        let left = self.vector(height);
        // Not `atan2`, which keeps the name of the metric in 2.42.
        let arithmetic = ["+", "-", "*", "/", "%", "^"];
        let comparisons = ["==", "!=", ">", "<", ">=", "<=", "> bool", "== bool", "<= bool"];
        let op = if self.random.below(2) == 0 { self.random.pick(&arithmetic) } else { self.random.pick(&comparisons) };
        match self.random.below(8) {
            0 | 1 => format!("({left}) {op} {}", self.scalar(height)),
            2 => format!("{} {op} ({left})", self.scalar(height)),
            3 | 4 => {
                let op = self.random.pick(&["and", "or", "unless"]);
                let matching = self.random.pick(&["", "", " on (job)", " ignoring (instance)", " on ()"]);
                format!("({left}) {op}{matching} ({})", self.vector(height))
            }
            5 => format!("({left}) {op} on (job) group_left (version) info"),
            6 => format!("({left}) {op} on (job) group_left () sum by (job) ({})", self.vector(height)),
            _ => {
                let matching = self.random.pick(&["", " on (job, instance)", " ignoring (le)"]);
                format!("({left}) {op}{matching} ({})", self.vector(height))
            }
        }
    }
}
