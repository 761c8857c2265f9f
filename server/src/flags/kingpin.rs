//! What `kingpin`, the flag library of the programs replaced, writes in another way than ours.

/// Switches that are off where they are not given.
const OFF: [&str; 13] = [
    "config.auto-reload",
    "web.enable-lifecycle",
    "web.enable-admin-api",
    "web.enable-remote-write-receiver",
    "web.enable-otlp-receiver",
    "web.disable-exporter-metrics",
    "storage.tsdb.no-lockfile",
    "storage.agent.no-lockfile",
    "storage.agent.checkpoint-from-in-memory-series",
    "collector.disable-defaults",
    "agent",
    "enable-feature",
    "help-long",
];
/// Switches that are on where they are not given.
const ON: [&str; 7] = [
    "storage.tsdb.wal-compression",
    "storage.tsdb.allow-overlapping-compaction",
    "storage.agent.wal-compression",
    "alertmanager.drain-notification-queue-on-shutdown",
    "auto-gomaxprocs",
    "auto-gomemlimit",
    "scrape.adjust-timestamps",
];

/// Rewrites `--collector.cpu` and `--no-collector.cpu`, which name collectors, `--no-X` of switches, and the other names
/// of `--help`.
pub fn normalised(args: impl IntoIterator<Item = String>) -> Vec<String> {
    let collector = |name: &str| exporters::node::COLLECTORS.contains(&name);
    let mut kept: Vec<String> = Vec::new();
    for arg in args {
        match (arg.strip_prefix("--collector."), arg.strip_prefix("--no-")) {
            (Some(name), _) if collector(name) => kept.push(format!("--collector={name}")),
            (_, Some(negated)) => match negated.strip_prefix("collector.") {
                Some(name) if collector(name) => kept.push(format!("--no-collector={name}")),
                // The last word counts: what was switched on before is off again.
                _ if OFF.contains(&negated) => kept.retain(|earlier| earlier.strip_prefix("--") != Some(negated)),
                _ if ON.contains(&negated) => {
                    kept.retain(|earlier| earlier.strip_prefix("--") != Some(negated));
                    kept.push(format!("--{negated}=false"));
                }
                _ => kept.push(arg),
            },
            _ if matches!(arg.as_str(), "--help-long" | "--help-man") => kept.push("--help".into()),
            _ => kept.push(arg),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negations_are_understood() {
        let check = |given: &[&str], expected: &[&str]| {
            assert_eq!(normalised(given.iter().map(|arg| (*arg).to_owned())), expected);
        };
        check(&["--web.enable-lifecycle", "--no-web.enable-lifecycle"], &[]);
        check(&["--no-storage.tsdb.wal-compression"], &["--storage.tsdb.wal-compression=false"]);
        check(&["--no-collector.cpu", "--collector.loadavg"], &["--no-collector=cpu", "--collector=loadavg"]);
        check(&["--help-long", "--help-man"], &["--help", "--help"]);
        check(&["--no-such-flag", "--no-storage.tsdb.no-lockfile"], &["--no-such-flag"]);
    }
}
