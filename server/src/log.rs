//! Logging: lines that look like Prometheus 3's, as logfmt or JSON, on standard error.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `--log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// `--log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Logfmt,
    Json,
}

/// Starts logging; to be called once, by `main`.
pub fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    // Libraries' own details are noise even when debugging.
    let filter = tracing_subscriber::EnvFilter::new(format!(
        "{level},hyper=error,hyper_util=error,h2=error,rustls=error,reqwest=error,tower=error"
    ));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process, as tests do, keeps the first.
    let _started = builder.event_format(Lines { format }).try_init();
}

struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        let file = metadata.file().and_then(|f| f.rsplit('/').next()).unwrap_or("");
        let source = format!("{file}:{}", metadata.line().unwrap_or(0));
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut pairs = vec![("time", time), ("level", level.to_owned()), ("source", source), ("msg", fields.message)];
        pairs.extend(fields.others);
        match self.format {
            LogFormat::Logfmt => logfmt(&mut writer, &pairs),
            LogFormat::Json => json(&mut writer, &pairs),
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn put(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            // What a library says about its own log records is of no use here.
            name if name.starts_with("log.") => {}
            "error" => self.others.push(("err", text)),
            name => self.others.push((name, text)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }
}

fn logfmt(writer: &mut Writer<'_>, pairs: &[(&str, String)]) -> fmt::Result {
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            writer.write_char(' ')?;
        }
        let plain = !value.is_empty()
            && value.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\') || c.is_alphanumeric());
        match plain {
            true => write!(writer, "{name}={value}")?,
            false => write!(writer, "{name}={}", model::quote::quote(value))?,
        }
    }
    writer.write_char('\n')
}

fn json(writer: &mut Writer<'_>, pairs: &[(&str, String)]) -> fmt::Result {
    let text = |value: &str| serde_json::to_string(value).map_err(|_| fmt::Error);
    writer.write_char('{')?;
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            writer.write_char(',')?;
        }
        write!(writer, "{}:{}", text(name)?, text(value)?)?;
    }
    writer.write_str("}\n")
}
