//! `tool query`: questions to a server, answered as `promtool` prints them.

mod analyze;
mod print;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use model::duration::Duration;
use serde_json::Value;

use self::print::Format;
use super::client::{Client, ClientFlags, pair};
use super::say;

/// How far back a range begins that does not say when, and into how many steps it is divided, as in promtool.
const RANGE_DEFAULT: Duration = Duration::from_seconds(5 * 60);
const STEPS_DEFAULT: i64 = 250;
/// What series and labels are looked for in where no time is given.
const EVER: Duration = Duration::from_seconds(9999 * 3600);

/// A query, whom it goes to, and what the answer looks like.
#[derive(Debug, Args)]
pub struct QueryFlags {
    #[command(flatten)]
    client: ClientFlags,
    /// Output format of the query
    #[arg(short = 'o', long, default_value = "promql", global = true)]
    format: Format,
    #[command(subcommand)]
    command: QueryCommand,
}

#[derive(Debug, Subcommand)]
pub enum QueryCommand {
    /// Run an instant query
    Instant {
        #[command(flatten)]
        plan: PlanFlags,
        /// Evaluation time (RFC3339 or Unix timestamp)
        #[arg(long)]
        time: Option<String>,
        /// Extra headers to send to server, as name=value
        #[arg(long = "header", value_parser = pair)]
        headers: Vec<(String, String)>,
        /// Server to query
        server: String,
        /// PromQL
        expr: String,
    },
    /// Run a range query
    Range {
        #[command(flatten)]
        plan: PlanFlags,
        /// Start time (RFC3339 or Unix timestamp); five minutes before the end if absent
        #[arg(long)]
        start: Option<String>,
        /// End time (RFC3339 or Unix timestamp); now if absent
        #[arg(long)]
        end: Option<String>,
        /// Query step size (duration); what makes 250 steps if absent
        #[arg(long)]
        step: Option<Duration>,
        /// Extra headers to send to server, as name=value
        #[arg(long = "header", value_parser = pair)]
        headers: Vec<(String, String)>,
        /// Server to query
        server: String,
        /// PromQL
        expr: String,
    },
    /// Run series query
    Series {
        #[command(flatten)]
        of: SelectionFlags,
        /// Server to query
        server: String,
    },
    /// Run labels query
    Labels {
        #[command(flatten)]
        of: SelectionFlags,
        /// Server to query
        server: String,
        /// Label name to provide label values for
        name: String,
    },
    /// Run queries against your Prometheus to analyze the usage pattern of certain metrics
    Analyze(analyze::AnalyzeFlags),
}

/// Which series are meant.
#[derive(Debug, Args)]
pub struct SelectionFlags {
    /// Series selector. Can be specified multiple times
    #[arg(long = "match")]
    selectors: Vec<String>,
    /// Start time (RFC3339 or Unix timestamp)
    #[arg(long)]
    start: Option<String>,
    /// End time (RFC3339 or Unix timestamp)
    #[arg(long)]
    end: Option<String>,
}

/// Whether a query's plan is shown.
#[derive(Debug, Args)]
pub struct PlanFlags {
    /// Show how the query would be run, without running it
    #[arg(long, conflicts_with = "analyze")]
    pub explain: bool,
    /// Show, beside the result, how the query was run and what each part took
    #[arg(long)]
    pub analyze: bool,
}

impl SelectionFlags {
    fn params(self) -> Result<Vec<(&'static str, String)>> {
        let now = jiff::Timestamp::now().as_millisecond();
        let start = moment("start", self.start.as_deref())?.unwrap_or(now - EVER.as_millis());
        let end = moment("end", self.end.as_deref())?.unwrap_or(now + EVER.as_millis());
        let selectors = self.selectors.into_iter().map(|selector| ("match[]", selector));
        Ok(selectors.chain([("start", seconds(start)), ("end", seconds(end))]).collect())
    }
}

/// Milliseconds since the epoch.
fn moment(which: &str, text: Option<&str>) -> Result<Option<i64>> {
    let parse = |text| crate::http::parse_time(text).map_err(|error| anyhow!("error parsing {which} time: {error}"));
    Ok(text.map(parse).transpose()?.map(|time| time.0))
}

fn seconds(ms: i64) -> String {
    (ms as f64 / 1000.0).to_string()
}

pub(super) async fn run(QueryFlags { client, format, command }: QueryFlags) -> Result<()> {
    match command {
        QueryCommand::Instant { plan, time, headers, server, expr } => {
            let time = moment("evaluation", time.as_deref())?.unwrap_or(jiff::Timestamp::now().as_millisecond());
            let params = vec![("query", expr), ("time", seconds(time))];
            query(&client.connect(&server, headers).await?, "query", params, &plan, format).await
        }
        QueryCommand::Range { plan, start, end, step, headers, server, expr } => {
            let end = moment("end", end.as_deref())?.unwrap_or(jiff::Timestamp::now().as_millisecond());
            let start = moment("start", start.as_deref())?.unwrap_or(end - RANGE_DEFAULT.as_millis());
            if start >= end {
                bail!("start time is not before end time");
            }
            let default = Duration::from_seconds(((end - start) / 1000 / STEPS_DEFAULT).max(1));
            let step = step.filter(|step| !step.is_zero()).unwrap_or(default);
            let params = vec![
                ("query", expr),
                ("start", seconds(start)),
                ("end", seconds(end)),
                ("step", seconds(step.as_millis())),
            ];
            query(&client.connect(&server, headers).await?, "query_range", params, &plan, format).await
        }
        QueryCommand::Series { of, server } => {
            if of.selectors.is_empty() {
                bail!("required flag --match not provided");
            }
            let data = client.connect(&server, Vec::new()).await?.ask("series", &of.params()?).await?;
            format.print_series(&data);
            Ok(())
        }
        QueryCommand::Labels { of, server, name } => {
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            pairs.extend_pairs(of.params()?);
            let client = client.connect(&server, Vec::new()).await?;
            format.print_values(&client.fetch(&format!("label/{name}/values?{}", pairs.finish())).await?);
            Ok(())
        }
        QueryCommand::Analyze(flags) => analyze::run(flags, &client).await,
    }
}

/// Asks for a query's result, its plan, or both, and prints them.
async fn query(
    client: &Client,
    endpoint: &str,
    mut params: Vec<(&str, String)>,
    plan: &PlanFlags,
    format: Format,
) -> Result<()> {
    let wanted = [("explain", plan.explain), ("analyze", plan.analyze)];
    params.extend(wanted.iter().filter(|(_, is_wanted)| *is_wanted).map(|(name, _)| (*name, "true".to_owned())));
    let data = client.ask(endpoint, &params).await?;
    if plan.explain {
        print_plan(&data, 0);
        return Ok(());
    }
    format.print_result(&data);
    if plan.analyze {
        print_plan(&data["plan"], 0);
    }
    Ok(())
}

/// Prints a plan as a tree: what each part does, and what it took if it was run.
fn print_plan(node: &Value, depth: usize) {
    let text = |key: &str| node[key].as_str().unwrap_or("");
    let mut line = format!("{}#{} {} {}", "  ".repeat(depth), node["id"], text("operator"), text("detail"));
    if node["seconds"].is_number() {
        line.push_str(&format!(
            "  ({} series, {} points, {} bytes, {} samples, {} s)",
            node["series"], node["points"], node["bytes"], node["samples"], node["seconds"]
        ));
    }
    say(line.trim_end());
    node["children"].as_array().into_iter().flatten().for_each(|child| print_plan(child, depth + 1));
}
