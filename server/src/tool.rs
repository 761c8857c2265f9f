//! Checks, queries, tests and work on data directories, as `promtool` has them.

mod promql;
mod testing;
mod tsdb;

pub use self::promql::PromqlCommand;
pub use self::testing::TestCommand;
pub use self::tsdb::TsdbCommand;

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::config::{self, Depth};
use crate::web_config;
use crate::flags::{CheckCommand, PlanFlags, QueryCommand, ToolCommand};

/// Runs one command. What it prints goes to standard output, faults to standard error.
///
/// # Errors
/// If a file is bad or a query fails.
pub async fn run(command: ToolCommand) -> Result<()> {
    match command {
        ToolCommand::Check(CheckCommand::Config { syntax_only, files }) => check_configs(syntax_only, &files),
        ToolCommand::Check(CheckCommand::WebConfig { files }) => check_web_configs(&files),
        ToolCommand::Check(CheckCommand::Rules { files }) => check_rules(&files),
        ToolCommand::Check(CheckCommand::Healthy(server)) => check_server(&server.url, "healthy").await,
        ToolCommand::Check(CheckCommand::Ready(server)) => check_server(&server.url, "ready").await,
        ToolCommand::Test(command) => testing::run(command),
        ToolCommand::Tsdb(command) => tsdb::run(command).await,
        ToolCommand::Promql(command) => promql::run(command),
        ToolCommand::Query(QueryCommand::Instant { plan, time, server, expr }) => {
            let mut params = vec![("query", expr)];
            params.extend(time.map(|time| ("time", time)));
            query(&server, "query", params, &plan).await
        }
        ToolCommand::Query(QueryCommand::Range { plan, start, end, step, server, expr }) => {
            let now = jiff::Timestamp::now();
            let end = end.unwrap_or_else(|| now.as_second().to_string());
            let start = start.unwrap_or_else(|| (now.as_second() - 3600).to_string());
            let params = vec![("query", expr), ("start", start), ("end", end), ("step", step)];
            query(&server, "query_range", params, &plan).await
        }
    }
}

#[allow(clippy::print_stdout, reason = "a command's output")]
fn say(text: &str) {
    println!("{text}");
}

#[allow(clippy::print_stderr, reason = "a command's errors")]
fn complain(text: &str) {
    eprintln!("{text}");
}

fn check_configs(syntax_only: bool, files: &[PathBuf]) -> Result<()> {
    let mut failed = 0;
    for file in files {
        say(&format!("Checking {}", file.display()));
        let depth = if syntax_only { Depth::SyntaxOnly } else { Depth::Whole };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                complain(&format!("  FAILED: {}: {error}", file.display()));
                failed += 1;
                continue;
            }
        };
        match config::parse(file, &text, depth) {
            Ok(config) => {
                if depth == Depth::Whole && !config.rule_files.is_empty() {
                    say(&format!("  SUCCESS: {} rule files found", config.rule_files.len()));
                }
                config.not_run.iter().for_each(|told| say(&format!("  WARNING: {told}")));
                say(&format!(" SUCCESS: {} is valid prometheus config file syntax\n", file.display()));
            }
            Err(error) => {
                complain("  FAILED:");
                error.0.iter().for_each(|fault| complain(&format!("    {fault}")));
                failed += 1;
            }
        }
    }
    if failed > 0 { bail!("{failed} of {} files failed", files.len()) } else { Ok(()) }
}

fn check_web_configs(files: &[PathBuf]) -> Result<()> {
    let mut failed = 0;
    for file in files {
        match web_config::check(file) {
            Ok(()) => say(&format!("{} SUCCESS", file.display())),
            Err(fault) => {
                complain(&format!("{} FAILED: {fault}", file.display()));
                failed += 1;
            }
        }
    }
    if failed > 0 { bail!("{failed} of {} files failed", files.len()) } else { Ok(()) }
}

fn check_rules(files: &[PathBuf]) -> Result<()> {
    let mut failed = 0;
    for file in files {
        say(&format!("Checking {}", file.display()));
        match config::rule_file(file) {
            Ok(content) => {
                let rules: usize = content.groups.iter().map(|group| group.value.rules.len()).sum();
                say(&format!("  SUCCESS: {rules} rules found\n"));
            }
            Err(faults) => {
                complain("  FAILED:");
                faults.iter().for_each(|fault| complain(&format!("    {fault}")));
                failed += 1;
            }
        }
    }
    if failed > 0 { bail!("{failed} of {} files failed", files.len()) } else { Ok(()) }
}

/// Asks whether a server is `what`.
async fn check_server(url: &str, what: &str) -> Result<()> {
    let url = format!("{}/-/{what}", url.trim_end_matches('/'));
    let response = reqwest::get(&url).await?;
    match response.status().is_success() {
        true => {
            say(&format!("  SUCCESS: {}", response.text().await?.trim_end()));
            Ok(())
        }
        false => bail!("check failed: URL={url}, status={}", response.status().as_u16()),
    }
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

async fn ask(server: &str, endpoint: &str, params: &[(&str, String)]) -> Result<Value> {
    let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let url = format!("{}/api/v1/{endpoint}", server.trim_end_matches('/'));
    let response = reqwest::Client::new().post(&url).form(params).send().await?;
    let answer: Value = response.json().await?;
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
