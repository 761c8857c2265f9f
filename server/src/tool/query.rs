//! `tool query`: questions to a server, answered as `promtool` prints them.

mod analyze;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::say;

#[derive(Debug, Subcommand)]
pub enum QueryCommand {
    /// Run an instant query
    Instant {
        #[command(flatten)]
        plan: PlanFlags,
        /// Evaluation time (RFC3339 or Unix timestamp)
        #[arg(long)]
        time: Option<String>,
        /// Server to query
        server: String,
        /// PromQL
        expr: String,
    },
    /// Run a range query
    Range {
        #[command(flatten)]
        plan: PlanFlags,
        /// Start time (RFC3339 or Unix timestamp); an hour ago if absent
        #[arg(long)]
        start: Option<String>,
        /// End time (RFC3339 or Unix timestamp); now if absent
        #[arg(long)]
        end: Option<String>,
        /// Step (duration)
        #[arg(long, default_value = "15s")]
        step: String,
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
    fn params(self) -> Vec<(&'static str, String)> {
        let selectors = self.selectors.into_iter().map(|selector| ("match[]", selector));
        let times = [("start", self.start), ("end", self.end)];
        selectors.chain(times.into_iter().filter_map(|(name, time)| Some((name, time?)))).collect()
    }
}

pub(super) async fn run(command: QueryCommand) -> Result<()> {
    match command {
        QueryCommand::Instant { plan, time, server, expr } => {
            let mut params = vec![("query", expr)];
            params.extend(time.map(|time| ("time", time)));
            query(&server, "query", params, &plan).await
        }
        QueryCommand::Range { plan, start, end, step, server, expr } => {
            let now = jiff::Timestamp::now();
            let end = end.unwrap_or_else(|| now.as_second().to_string());
            let start = start.unwrap_or_else(|| (now.as_second() - 3600).to_string());
            let params = vec![("query", expr), ("start", start), ("end", end), ("step", step)];
            query(&server, "query_range", params, &plan).await
        }
        QueryCommand::Series { of, server } => {
            if of.selectors.is_empty() {
                bail!("required flag --match not provided");
            }
            let data = ask(&server, "series", &of.params()).await?;
            data.as_array().into_iter().flatten().for_each(|labels| say(&label_set(labels)));
            Ok(())
        }
        QueryCommand::Labels { of, server, name } => {
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            pairs.extend_pairs(of.params());
            let data = fetch(&server, &format!("label/{name}/values?{}", pairs.finish())).await?;
            data.as_array().into_iter().flatten().filter_map(Value::as_str).for_each(say);
            Ok(())
        }
        QueryCommand::Analyze(flags) => analyze::run(flags).await,
    }
}

/// All labels in braces, the name among them.
fn label_set(labels: &Value) -> String {
    let pair =
        |(name, value): (&String, &Value)| format!("{name}={}", model::quote::quote(value.as_str().unwrap_or("")));
    let pairs: Vec<String> = labels.as_object().into_iter().flatten().map(pair).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// Asks for a query's result, its plan, or both, and prints them.
async fn query(server: &str, endpoint: &str, mut params: Vec<(&str, String)>, plan: &PlanFlags) -> Result<()> {
    let wanted = [("explain", plan.explain), ("analyze", plan.analyze)];
    params.extend(wanted.iter().filter(|(_, is_wanted)| *is_wanted).map(|(name, _)| (*name, "true".to_owned())));
    let data = ask(server, endpoint, &params).await?;
    if plan.explain {
        print_plan(&data, 0);
        return Ok(());
    }
    print_result(&data);
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

pub(super) async fn ask(server: &str, endpoint: &str, params: &[(&str, String)]) -> Result<Value> {
    let response = reqwest::Client::new().post(url_of(server, endpoint)).form(params).send().await?;
    answered(response.json().await?)
}

async fn fetch(server: &str, path: &str) -> Result<Value> {
    answered(reqwest::get(url_of(server, path)).await?.json().await?)
}

fn url_of(server: &str, path: &str) -> String {
    let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    format!("{}/api/v1/{path}", server.trim_end_matches('/'))
}

/// The data of an answer.
fn answered(answer: Value) -> Result<Value> {
    match answer["status"].as_str() {
        Some("success") => Ok(answer["data"].clone()),
        _ => bail!(
            "query error: {}: {}",
            answer["errorType"].as_str().unwrap_or("unknown"),
            answer["error"].as_str().unwrap_or("the server's answer is not the API's")
        ),
    }
}

/// Prints a result as `promtool` does: `labels => value @[time]`.
fn print_result(data: &Value) {
    let point = |point: &Value| format!("{} @[{}]", point[1].as_str().unwrap_or(""), point[0]);
    match data["resultType"].as_str() {
        Some("vector") => {
            for sample in data["result"].as_array().into_iter().flatten() {
                say(&format!("{} => {}", metric(&sample["metric"]), point(&sample["value"])));
            }
        }
        Some("matrix") => {
            for series in data["result"].as_array().into_iter().flatten() {
                say(&format!("{} =>", metric(&series["metric"])));
                series["values"].as_array().into_iter().flatten().for_each(|p| say(&point(p)));
            }
        }
        Some("scalar") => say(&format!("scalar: {}", point(&data["result"]))),
        _ => say(data["result"][1].as_str().unwrap_or("")),
    }
}

/// `name{label="value"}`
fn metric(labels: &Value) -> String {
    let Some(map) = labels.as_object() else { return "{}".to_owned() };
    let name = map.get("__name__").and_then(Value::as_str).unwrap_or("");
    let others: Vec<String> = map
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}={}", model::quote::quote(value.as_str().unwrap_or(""))))
        .collect();
    match (name, others.is_empty()) {
        (name, true) if !name.is_empty() => name.to_owned(),
        _ => format!("{name}{{{}}}", others.join(", ")),
    }
}
