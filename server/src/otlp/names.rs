//! Names of metrics, units and labels, translated by the strategy that is configured.
//!
//! Rules: OpenTelemetry's "Prometheus and OpenMetrics compatibility", section "OTLP metric points to Prometheus".

use crate::config::{OtlpConfig, TranslationStrategy};

/// What a metric is, as far as its name depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    MonotonicCounter,
    Other,
}

/// UCUM's units that have a word.
const UNITS: [(&str, &str); 31] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
    // Behind a slash, where the word is singular.
    ("/s", "second"),
    ("/m", "minute"),
    ("/h", "hour"),
    ("/d", "day"),
    ("/w", "week"),
];
const LONG_UNITS: [(&str, &str); 2] = [("/mo", "month"), ("/y", "year")];

/// Builds names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Namer {
    pub(super) suffixes: bool,
    pub(super) utf8: bool,
    /// `key` stands before a label that begins with one underscore.
    underscore_key: bool,
    keeps_underscores: bool,
}

impl Namer {
    pub(super) fn new(config: &OtlpConfig) -> Self {
        use TranslationStrategy as Strategy;
        let strategy = config.translation_strategy;
        Self {
            suffixes: matches!(
                strategy,
                Strategy::UnderscoreEscapingWithSuffixes | Strategy::NoUtf8EscapingWithSuffixes
            ),
            utf8: matches!(strategy, Strategy::NoUtf8EscapingWithSuffixes | Strategy::NoTranslation),
            underscore_key: config.label_name_underscore_sanitization,
            keeps_underscores: config.label_name_preserve_multiple_underscores,
        }
    }

    /// One that leaves names as they are.
    pub(super) fn without_escaping(self) -> Self {
        Self { utf8: true, ..self }
    }

    /// The name of a metric's family.
    ///
    /// # Errors
    /// If nothing is left of it.
    pub(super) fn metric(self, name: &str, unit: &str, kind: Kind) -> Result<String, String> {
        if self.utf8 {
            return Ok(if self.suffixes { with_suffixes(name, unit, kind) } else { name.to_owned() });
        }
        let built = if self.suffixes { from_words(name, unit, kind) } else { escaped(name) };
        if built.is_empty() {
            return Err(format!("normalization for metric {name:?} resulted in empty name"));
        }
        if built != name && built.bytes().all(|byte| byte == b'_') {
            return Err(format!("normalization for metric {name:?} resulted in invalid name {built:?}"));
        }
        Ok(built)
    }

    /// The name of a label.
    ///
    /// # Errors
    /// If nothing is left of it.
    pub(super) fn label(self, name: &str) -> Result<String, String> {
        let only_underscores = |name: &str| name.bytes().all(|byte| byte == b'_');
        if name.is_empty() {
            return Err("label name is empty".into());
        }
        if self.utf8 {
            let fault = || format!("label name {name:?} contains only underscores");
            return if only_underscores(name) { Err(fault()) } else { Ok(name.to_owned()) };
        }
        let mut built = self.sanitised(name);
        if built.starts_with(|c: char| c.is_ascii_digit()) {
            built.insert_str(0, "key_");
        } else if self.underscore_key && built.starts_with('_') && !built.starts_with("__") {
            built.insert_str(0, "key");
        }
        if only_underscores(&built) {
            return Err(format!("normalization for label name {name:?} resulted in invalid name {built:?}"));
        }
        Ok(built)
    }

    fn sanitised(self, name: &str) -> String {
        let replaced = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        if self.keeps_underscores {
            return name.chars().map(replaced).collect();
        }
        let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
        let collapsed = collapsed(&inner.unwrap_or(name).chars().map(replaced).collect::<String>());
        if inner.is_some() { format!("__{collapsed}__") } else { collapsed }
    }

    /// A unit as metadata and the unit label show it.
    pub(super) fn unit(self, unit: &str) -> String {
        let (main, per) = unit_words(unit);
        let (main, per) = (cleaned(&main), cleaned(&per));
        let joined = if main.is_empty() || per.is_empty() { main + &per } else { format!("{main}_{per}") };
        let joined = joined.strip_prefix('_').unwrap_or(&joined);
        joined.strip_suffix('_').unwrap_or(joined).to_owned()
    }
}

fn is_metric_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// Runs of underscores as one.
fn collapsed(text: &str) -> String {
    let mut built = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '_' || !built.ends_with('_') {
            built.push(c);
        }
    }
    built
}

/// A unit's words as parts of a name.
fn cleaned(unit: &str) -> String {
    let replaced: String = unit.chars().map(|c| if is_metric_char(c) { c } else { '_' }).collect();
    let collapsed = collapsed(&replaced);
    collapsed.strip_prefix('_').unwrap_or(&collapsed).to_owned()
}

/// The words of a unit and of what it is divided by; annotations in braces have none.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let has_word = |text: &str| !text.is_empty() && !text.contains(['{', '}']);
    let word = |key: &str| UNITS.iter().chain(&LONG_UNITS).find(|(unit, _)| *unit == key).map(|(_, word)| *word);
    let main = main.trim();
    let main = if has_word(main) { word(main).unwrap_or(main) } else { "" };
    let per = per.trim();
    let per = match has_word(per) {
        true => format!("per_{}", word(&format!("/{per}")).unwrap_or(per)),
        false => String::new(),
    };
    (main.to_owned(), per)
}

/// Words of a name, and those that unit and kind add, joined by underscores.
fn from_words(name: &str, unit: &str, kind: Kind) -> String {
    let mut words: Vec<String> =
        name.split(|c| !is_metric_char(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let (main, per) = unit_words(unit);
    let (mut main, per) = (cleaned(&main), cleaned(&per));
    if words.contains(&main) {
        main.clear();
    }
    let per = per.strip_suffix('_').unwrap_or(&per).to_owned();
    let per = if per == "per" || words.contains(&per) { String::new() } else { per };
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(&main).to_owned();
    }
    words.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    let mut ends_with = |last: &str| {
        words.retain(|word| word != last);
        words.push(last.to_owned());
    };
    if kind == Kind::MonotonicCounter {
        ends_with("total");
    }
    if unit == "1" && kind == Kind::Gauge {
        ends_with("ratio");
    }
    let mut built = words.join("_");
    if built.starts_with(|c: char| c.is_ascii_digit()) {
        built.insert(0, '_');
    }
    built
}

/// The name with runs of what may not stand in it replaced by underscores.
fn escaped(name: &str) -> String {
    let parts: Vec<&str> = name.split(|c| !is_metric_char(c) && c != '_').filter(|part| !part.is_empty()).collect();
    let mut built = parts.join("_");
    if built.starts_with(|c: char| c.is_ascii_digit()) {
        built.insert(0, '_');
    }
    built
}

/// The name as it is, with the suffixes of unit and kind in their order.
fn with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let without = |name: String, suffix: &str| match name.strip_suffix(suffix) {
        Some(rest) if rest.chars().count() > 1 => {
            let mut chars = rest.chars();
            chars.next_back();
            chars.as_str().to_owned()
        }
        _ => name,
    };
    let (main, per) = unit_words(unit);
    let is_ratio = unit == "1" && kind == Kind::Gauge;
    let is_total = kind == Kind::MonotonicCounter;
    let mut built = name.to_owned();
    if is_ratio {
        built = without(built, "ratio");
    }
    if is_total {
        built = without(built, "total");
    }
    if !per.is_empty() {
        built = without(built, &per);
    }
    let main = if built.ends_with(&main) { String::new() } else { main };
    let suffixes = [main.as_str(), &per, if is_total { "total" } else { "" }, if is_ratio { "ratio" } else { "" }];
    for suffix in suffixes.into_iter().filter(|suffix| !suffix.is_empty()) {
        built.push('_');
        built.push_str(suffix);
    }
    built
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namer(strategy: TranslationStrategy) -> Namer {
        Namer::new(&OtlpConfig { translation_strategy: strategy, ..OtlpConfig::default() })
    }

    #[test]
    fn metrics_get_the_suffixes_of_unit_and_kind() {
        let check = |name: &str, unit: &str, kind, expected: &str| {
            let namer = namer(TranslationStrategy::UnderscoreEscapingWithSuffixes);
            assert_eq!(namer.metric(name, unit, kind).unwrap(), expected, "{name} {unit}");
        };
        check("http.server.duration", "s", Kind::Other, "http_server_duration_seconds");
        check("system.cpu.time", "s", Kind::MonotonicCounter, "system_cpu_time_seconds_total");
        check("system.cpu.utilization", "1", Kind::Gauge, "system_cpu_utilization_ratio");
        check("requests", "{request}", Kind::MonotonicCounter, "requests_total");
        check("requests_total", "", Kind::MonotonicCounter, "requests_total");
        check("total.requests", "", Kind::MonotonicCounter, "requests_total");
        check("speed", "m/s", Kind::Gauge, "speed_meters_per_second");
        check("io.bytes", "By", Kind::MonotonicCounter, "io_bytes_total");
        check("2xx", "", Kind::Gauge, "_2xx");
        check("a__b..c", "KiBy/mo", Kind::Other, "a_b_c_kibibytes_per_month");
        check("broken", "T {x}", Kind::Other, "broken");
        let namer = namer(TranslationStrategy::UnderscoreEscapingWithSuffixes);
        assert!(namer.metric("...", "", Kind::Gauge).unwrap_err().contains("empty name"));
    }

    #[test]
    fn strategies_differ() {
        use TranslationStrategy as Strategy;
        let check = |strategy, expected: &str| {
            let built = namer(strategy).metric("http.requests total", "By/s", Kind::MonotonicCounter).unwrap();
            assert_eq!(built, expected, "{strategy:?}");
        };
        check(Strategy::UnderscoreEscapingWithSuffixes, "http_requests_bytes_per_second_total");
        check(Strategy::UnderscoreEscapingWithoutSuffixes, "http_requests_total");
        check(Strategy::NoUtf8EscapingWithSuffixes, "http.requests_bytes_per_second_total");
        check(Strategy::NoTranslation, "http.requests total");
    }

    #[test]
    fn labels_are_escaped() {
        let plain = namer(TranslationStrategy::UnderscoreEscapingWithSuffixes);
        let label = |name: &str| plain.label(name).unwrap();
        assert_eq!(label("http.method"), "http_method");
        assert_eq!(label("1st"), "key_1st");
        assert_eq!(label("_private"), "key_private");
        assert_eq!(label("__name__"), "__name__");
        assert_eq!(label("a..b"), "a__b");
        assert!(plain.label("").is_err() && plain.label("..").is_err());
        let config = OtlpConfig { label_name_preserve_multiple_underscores: false, ..OtlpConfig::default() };
        assert_eq!(Namer::new(&config).label("a..b").unwrap(), "a_b");
        assert_eq!(Namer::new(&config).label("__a..b__").unwrap(), "__a_b__");
        assert_eq!(namer(TranslationStrategy::NoTranslation).label("a..b").unwrap(), "a..b");
        assert_eq!(plain.unit("By/s"), "bytes_per_second");
        assert_eq!(plain.unit("{packet}/s"), "per_second");
    }
}
