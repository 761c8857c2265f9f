//! The one binary `cresset`: reads the command line and starts what it names.

mod access;
mod address;
mod alerting;
mod app;
mod cloud;
mod config;
mod evaluator;
mod features;
mod flags;
mod http;
mod log;
mod notifications;
mod otlp;
mod query_log;
mod remote;
mod router;
mod run;
mod stack;
mod storage;
mod storage_metrics;
mod tool;
mod web_config;

use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            run::complain(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run::run(std::env::args().collect()));
    // Blocking work that is still going on, such as a long query, does not hold up the end.
    runtime.shutdown_background();
    code
}
