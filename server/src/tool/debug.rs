//! `tool debug`: what a server says of itself, collected into one archive.

use std::fs::File;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::say;

/// Where it goes.
const ARCHIVE: &str = "debug.tar.gz";
/// Profiles of Go programs, by the file each goes to.
const PROFILES: [(&str, &str); 7] = [
    ("/debug/pprof/profile?seconds=30", "cpu.pb"),
    ("/debug/pprof/block", "block.pb"),
    ("/debug/pprof/goroutine", "goroutine.pb"),
    ("/debug/pprof/heap", "heap.pb"),
    ("/debug/pprof/mutex", "mutex.pb"),
    ("/debug/pprof/threadcreate", "threadcreate.pb"),
    ("/debug/pprof/trace?seconds=30", "trace.pb"),
];
const METRICS: (&str, &str) = ("/metrics", "metrics.txt");

/// What is collected.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Fetch profiling debug information. Servers of Go have it, this one does not
    Pprof(Target),
    /// Fetch metrics debug information
    Metrics(Target),
    /// Fetch all debug information
    All(Target),
}

/// Of whom.
#[derive(Debug, Args)]
pub struct Target {
    /// Server to get it from
    server: String,
}

pub(super) async fn run(command: DebugCommand) -> Result<()> {
    let (target, parts) = match command {
        DebugCommand::Pprof(target) => (target, PROFILES.to_vec()),
        DebugCommand::Metrics(target) => (target, vec![METRICS]),
        DebugCommand::All(target) => (target, PROFILES.into_iter().chain([METRICS]).collect()),
    };
    let collected = collect(target.server.trim_end_matches('/'), &parts).await;
    collected.context("error completing debug command")?;
    say(&format!("Compiling debug information complete, all files written in {ARCHIVE:?}."));
    Ok(())
}

async fn collect(server: &str, parts: &[(&str, &str)]) -> Result<()> {
    let mut bodies = Vec::with_capacity(parts.len());
    for (path, name) in parts {
        let url = format!("{server}{path}");
        say(&format!("collecting: {url}"));
        let response = reqwest::get(&url).await.with_context(|| format!("error executing HTTP request {url}"))?;
        let status = response.status();
        if !status.is_success() {
            bail!("{url}: server returned HTTP status {status}");
        }
        bodies.push((*name, response.bytes().await.with_context(|| format!("error reading the response of {url}"))?));
    }
    let file = File::create(ARCHIVE).with_context(|| format!("error creating {ARCHIVE}"))?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for (name, body) in bodies {
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(now);
        archive.append_data(&mut header, name, &body[..]).with_context(|| format!("error writing {ARCHIVE}"))?;
    }
    archive.into_inner()?.finish().with_context(|| format!("error closing {ARCHIVE}"))?;
    Ok(())
}
