//! From the command line to a running program, and to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use anyhow::{Context, Result};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use exporters::node::{COLLECTORS, Config as NodeConfig, NodeExporter};
use exporters::process::ProcessCollector;
use exposition::registry::Registry;
use net::server::{Config as ListenConfig, Server, listen_address};
use net::shutdown::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Options};
use crate::config::Variables;
use crate::features::Features;
use crate::flags::{
    AlertmanagerFlags, Cli, ClusterFlags, Command, ExporterCommand, LogFlags, Mode, NodeFlags, ServerFlags, WrongMode,
    normalised,
};
use crate::{log, router, stack, tool, web_config};

/// How long tasks may take to end.
const STOP_PATIENCE: StdDuration = StdDuration::from_secs(15);

/// Programs that this one stands in for when called through a link of that name, and what it then runs.
const LINKS: [(&str, &[&str]); 4] = [
    ("prometheus", &["server"]),
    ("alertmanager", &["alertmanager"]),
    ("node_exporter", &["exporter", "node"]),
    ("promtool", &["tool"]),
];

/// Says something to the person at the terminal.
#[allow(clippy::print_stderr, reason = "before logging starts, and for commands")]
pub fn complain(text: &str) {
    eprintln!("{text}");
}

/// Runs the program with these arguments, the first of which is its own name.
pub async fn run(args: Vec<String>) -> ExitCode {
    let command = Cli::command();
    let matches = match command.clone().try_get_matches_from(normalised(resolved(args))) {
        Ok(matches) => matches,
        Err(error) => {
            // Exit code 2 for bad flags, 0 for --help and --version, as the programs replaced have it.
            let _printed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            let _printed = error.print();
            return ExitCode::from(2);
        }
    };
    let shown = shown_flags(&command, &matches);
    match dispatch(cli, shown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<tool::Failed>() => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("cresset: {error:#}"));
            if error.is::<WrongMode>() || error.is::<tool::LintProblems>() {
                ExitCode::from(3)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Puts the subcommand in that the name of a link stands for.
fn resolved(args: Vec<String>) -> Vec<String> {
    let name = args.first().and_then(|arg| Path::new(arg).file_name()).and_then(|n| n.to_str()).unwrap_or("");
    let Some((_, inserted)) = LINKS.iter().find(|(link, _)| *link == name) else { return args };
    let mut all = args;
    all.splice(1..1, inserted.iter().map(|word| (*word).to_owned()));
    all
}

/// Flags of the subcommand in use.
#[derive(Debug, Default)]
struct ShownFlags {
    /// With their values.
    all: BTreeMap<String, String>,
    /// Those of the command line.
    given: BTreeSet<String>,
}

/// Flags of the subcommand in use with their values, for `status/flags`.
fn shown_flags(command: &clap::Command, matches: &ArgMatches) -> ShownFlags {
    let (command, matches) = match matches.subcommand() {
        Some((name, inner)) => match command.find_subcommand(name) {
            Some(command) => (command, inner),
            None => return ShownFlags::default(),
        },
        None => (command, matches),
    };
    let mut shown = ShownFlags::default();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        let id = arg.get_id().as_str();
        let value = match matches.try_get_raw(id) {
            Ok(Some(values)) => values.map(|v| v.to_string_lossy()).collect::<Vec<_>>().join(","),
            _ => String::new(),
        };
        shown.all.insert(long.to_owned(), value);
        if matches.value_source(id) == Some(ValueSource::CommandLine) {
            shown.given.insert(long.to_owned());
        }
    }
    shown
}

async fn dispatch(cli: Cli, shown: ShownFlags) -> Result<()> {
    let start = |flags: &LogFlags| log::start(flags.level, flags.format);
    match cli.command {
        None => {
            start(&cli.stack.log);
            let shutdown = Shutdown::new();
            let stack = stack::start(&cli.stack, shown.all, &shutdown).await?;
            live(Some(stack.app), &shutdown).await
        }
        Some(Command::Server(flags)) => {
            start(&flags.log);
            server(*flags, shown).await
        }
        Some(Command::Alertmanager(flags)) => {
            start(&flags.log);
            alertmanager(flags).await
        }
        Some(Command::Exporter(ExporterCommand::Node(flags))) => {
            start(&flags.log);
            node(*flags).await
        }
        Some(Command::Cluster(flags)) => {
            start(&flags.log);
            cluster(flags).await
        }
        Some(Command::Tool(command)) => tool::run(command).await,
    }
}

/// Waits for a signal to stop; reloads on SIGHUP.
async fn live(app: Option<App>, shutdown: &Shutdown) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let quit = app.as_ref().map(|app| Arc::clone(&app.quit)).unwrap_or_default();
    loop {
        tokio::select! {
            _ = hangup.recv() => match &app {
                // The outcome is logged where it is done.
                Some(app) => drop(app.reload().await),
                None => tracing::warn!("SIGHUP: nothing to reload here"),
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = quit.notified() => break,
        }
    }
    tracing::info!("stopping");
    if let Some(app) = app {
        app.stop().await;
    }
    if let Err(error) = shutdown.finish(STOP_PATIENCE).await {
        tracing::warn!(%error, "stopped with tasks left");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn server(flags: ServerFlags, shown: ShownFlags) -> Result<()> {
    let mode = flags.agent.mode(&flags.features, &shown.given)?;
    flags.unused.tell();
    if flags.web.console_templates.is_some() || flags.web.console_libraries.is_some() {
        tracing::warn!("console templates are not supported: --web.console.templates and .libraries have no effect");
    }
    let listen = flags.web.listen.iter().map(|text| listen_address(text)).collect::<Result<_, _>>()?;
    let registry = Registry::new();
    registry.add_collector(Arc::new(ProcessCollector::default()));
    let (storage, tsdb, lock) = match mode {
        Mode::Agent => flags.agent.storage(&flags.tsdb),
        Mode::Server => {
            let lock = if flags.no_lockfile { tsdb::LockFile::None } else { tsdb::LockFile::Lock };
            (flags.storage, flags.tsdb, lock)
        }
    };
    let has_alias = flags.features.iter().any(|feature| feature == "auto-reload-config");
    let options = Options {
        auto_reload: (flags.auto_reload || has_alias).then_some(flags.auto_reload_interval),
        config_file: flags.config,
        variables: if flags.expand_env { Variables::Expanded } else { Variables::Literal },
        mode,
        storage,
        tsdb,
        features: Features::from_names(&flags.features),
        lock,
        listen,
        web: flags.web,
        remote: flags.remote,
        notifications: flags.notifications,
        query: flags.query,
        rules: flags.rules,
        timestamp_tolerance: flags.scrape.tolerance(),
        flags: shown.all,
        local_router: None,
    };
    let shutdown = Shutdown::new();
    let app = App::start(options, registry, &shutdown).await?;
    for address in &app.addresses {
        tracing::info!(%address, "server is ready to receive web requests");
    }
    live(Some(app), &shutdown).await
}

async fn alertmanager(flags: AlertmanagerFlags) -> Result<()> {
    match flags.cluster_listen.as_deref() {
        None | Some("") => {}
        Some(address) => tracing::warn!(address, "peers are not supported by this version: this router runs alone"),
    }
    let config = alertmanager::router::read_config(&flags.config).context("loading configuration file failed")?;
    let mut listen = ListenConfig::new(listen_address(&flags.listen)?);
    listen.gate = web_config::gate(&flags.web_config, "")?;
    let server = Server::bind(listen).await.context("use --web.listen-address to listen elsewhere")?;
    let address = server.address();
    let external_url = flags.external_url.unwrap_or_else(|| format!("http://{address}"));
    let options = router::options(flags.storage, flags.retention.as_millis(), external_url);
    let registry = Registry::new();
    registry.add_collector(Arc::new(ProcessCollector::default()));
    let shutdown = Shutdown::new();
    let file = flags.config.clone();
    let running = router::start(options, config, Some(flags.config), server, registry, &shutdown).await?;
    tracing::info!(%address, "alert router is listening");
    let mut hangup = signal(SignalKind::hangup())?;
    let reloads = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let result = match alertmanager::router::read_config(&file) {
                Ok(config) => running.reload(config).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => tracing::info!("configuration loaded"),
                Err(error) => {
                    tracing::error!(%error, "configuration could not be reloaded; the old one stays in force")
                }
            }
        }
    });
    let ended = until_told(&shutdown).await;
    reloads.abort();
    ended
}

async fn node(flags: NodeFlags) -> Result<()> {
    let mut config = NodeConfig::default();
    config.paths.procfs = flags.procfs;
    config.paths.sysfs = flags.sysfs;
    config.paths.rootfs = flags.rootfs;
    if flags.disable_defaults {
        config.collectors.clear();
    }
    config.collectors.extend(flags.collectors);
    if let Some(unknown) = flags.no_collectors.iter().find(|name| !COLLECTORS.contains(&name.as_str())) {
        anyhow::bail!("unknown collector {unknown:?}; there are: {}", COLLECTORS.join(", "));
    }
    config.collectors.retain(|name| !flags.no_collectors.contains(name));
    let set = |target: &mut String, value: Option<String>| {
        if let Some(value) = value {
            *target = value;
        }
    };
    set(&mut config.mount_points_exclude, flags.mount_points_exclude);
    set(&mut config.fs_types_exclude, flags.fs_types_exclude);
    set(&mut config.disk_exclude, flags.disk_exclude);
    set(&mut config.netdev_exclude, flags.netdev_exclude);
    set(&mut config.netdev_include, flags.netdev_include);
    set(&mut config.vmstat_fields, flags.vmstat_fields);
    let exporter = NodeExporter::new(&config)?;
    let own = (!flags.no_own_metrics).then(|| {
        let registry = Registry::new();
        registry.add_collector(Arc::new(ProcessCollector::default()));
        registry
    });
    anyhow::ensure!(flags.path.starts_with('/'), "--web.telemetry-path must begin with a slash");
    let mut listen = ListenConfig::new(listen_address(&flags.listen)?);
    listen.gate = web_config::gate(&flags.web_config, "")?;
    let server = Server::bind(listen).await.context("use --web.listen-address to listen elsewhere")?;
    let shutdown = Shutdown::new();
    tracing::info!(address = %server.address(), "node exporter is listening");
    let app = exporters::app::router(exporter, own, &flags.path, flags.requests_max);
    shutdown.spawn(server.serve(app, shutdown.clone()));
    until_told(&shutdown).await
}

async fn cluster(flags: ClusterFlags) -> Result<()> {
    let mut config = cluster::app::Config::new(&flags.data, listen_address(&flags.listen)?);
    config.advertise_host = flags.advertise_host;
    let shutdown = Shutdown::new();
    cluster::app::start(config, shutdown.clone()).await.context("use --cluster.listen-address to listen elsewhere")?;
    until_told(&shutdown).await
}

/// Waits for a signal to stop, and stops.
async fn until_told(shutdown: &Shutdown) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if let Err(error) = shutdown.finish(STOP_PATIENCE).await {
        tracing::warn!(%error, "stopped with tasks left");
    }
    Ok(())
}
