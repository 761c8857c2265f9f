//! Runs the cluster API alone: `cargo run -p cluster --example cluster -- DATA_DIR [ADDRESS]`.
#![allow(clippy::print_stderr, reason = "a program for people")]

use net::shutdown::Shutdown;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().ok_or("expected a data directory")?;
    let listen = net::server::listen_address(&arguments.next().unwrap_or_else(|| "127.0.0.1:6443".to_owned()))?;
    let shutdown = Shutdown::new();
    let running = cluster::app::start(cluster::app::Config::new(data, listen), shutdown.clone()).await?;
    eprintln!("https://{} with {}", running.address, running.kubeconfig.display());
    tokio::signal::ctrl_c().await?;
    shutdown.finish(std::time::Duration::from_secs(10)).await?;
    Ok(())
}
