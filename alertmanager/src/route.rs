//! The tree of routes: which receivers an alert goes to, and how it is grouped on the way.

use std::sync::Arc;

use model::duration::Duration;
use model::labels::Labels;
use model::matcher::Matcher;

use crate::config::{ConfigError, RouteConfig};

/// Default of `group_wait`.
pub const GROUP_WAIT: Duration = Duration::from_seconds(30);
/// Default of `group_interval`.
pub const GROUP_INTERVAL: Duration = Duration::from_seconds(5 * 60);
/// Default of `repeat_interval`.
pub const REPEAT_INTERVAL: Duration = Duration::from_seconds(4 * 3600);

/// Which labels make a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// Each alert is its own.
    All,
    /// Alerts that agree in these.
    Labels(Vec<String>),
}

/// How a route groups and where it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOptions {
    /// Name of the receiver.
    pub receiver: String,
    /// What makes a group.
    pub group_by: GroupBy,
    /// How long a new group gathers alerts.
    pub group_wait: Duration,
    /// How often a group is looked at again.
    pub group_interval: Duration,
    /// How often an unchanged group is sent again.
    pub repeat_interval: Duration,
}

/// A node of the tree, everything inherited filled in.
#[derive(Debug)]
pub struct Route {
    /// Its place in the tree, the beginning of its groups' keys: `{}/{severity="page"}`.
    pub key: String,
    /// What it does.
    pub options: RouteOptions,
    matchers: Vec<Matcher>,
    goes_on: bool,
    routes: Vec<Arc<Route>>,
}

impl Route {
    /// Builds the tree.
    ///
    /// # Errors
    /// If a matcher does not parse.
    pub fn build(root: &RouteConfig) -> Result<Arc<Route>, ConfigError> {
        let defaults = RouteOptions {
            receiver: String::new(),
            group_by: GroupBy::Labels(Vec::new()),
            group_wait: GROUP_WAIT,
            group_interval: GROUP_INTERVAL,
            repeat_interval: REPEAT_INTERVAL,
        };
        Self::node(root, None, &defaults)
    }

    fn node(config: &RouteConfig, parent: Option<&str>, inherited: &RouteOptions) -> Result<Arc<Route>, ConfigError> {
        let matchers = config.compiled_matchers()?;
        let own = matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let key = parent.map_or_else(|| format!("{{{own}}}"), |parent| format!("{parent}/{{{own}}}"));
        let mut options = inherited.clone();
        if !config.receiver.is_empty() {
            options.receiver.clone_from(&config.receiver);
        }
        if let Some(group_by) = &config.group_by {
            let mut labels = group_by.clone();
            labels.sort();
            options.group_by = if labels == ["..."] { GroupBy::All } else { GroupBy::Labels(labels) };
        }
        options.group_wait = config.group_wait.unwrap_or(options.group_wait);
        options.group_interval = config.group_interval.unwrap_or(options.group_interval);
        options.repeat_interval = config.repeat_interval.unwrap_or(options.repeat_interval);
        let children = config.routes.iter().map(|child| Self::node(child, Some(&key), &options));
        let routes = children.collect::<Result<_, _>>()?;
        Ok(Arc::new(Route { key, options, matchers, goes_on: config.r#continue, routes }))
    }

    /// The routes an alert takes: the deepest that match, and where one says `continue`, its later siblings too.
    pub fn matching(self: &Arc<Self>, labels: &Labels) -> Vec<Arc<Route>> {
        if !self.matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for route in &self.routes {
            let matched = route.matching(labels);
            let stop = !matched.is_empty() && !route.goes_on;
            all.extend(matched);
            if stop {
                break;
            }
        }
        if all.is_empty() {
            all.push(Arc::clone(self));
        }
        all
    }

    /// The labels that an alert's group has on this route.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.options.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => labels.filtered(|name| names.iter().any(|n| n.as_bytes() == name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use model::labels;

    #[test]
    fn the_deepest_match_wins_and_continue_goes_on() {
        let config = Config::parse(
            "receivers: [{name: root}, {name: a}, {name: b}, {name: c}]\n\
             route:\n  receiver: root\n  group_by: [x]\n  routes:\n\
             \x20 - {matchers: ['t=a'], receiver: a, continue: true, repeat_interval: 1h}\n\
             \x20 - {matchers: ['t=~\"a|b\"'], receiver: b, routes: [{matchers: [u=1], receiver: c, group_by: ['...']}]}\n",
        )
        .unwrap();
        let root = Route::build(&config.route.unwrap()).unwrap();
        let receivers = |labels: &Labels| -> Vec<String> {
            root.matching(labels).iter().map(|r| r.options.receiver.clone()).collect()
        };
        assert_eq!(receivers(&labels! { "t" => "z" }), ["root"]);
        assert_eq!(receivers(&labels! { "t" => "a" }), ["a", "b"]);
        assert_eq!(receivers(&labels! { "t" => "b", "u" => "1" }), ["c"]);
        let deep = &root.matching(&labels! { "t" => "b", "u" => "1" })[0];
        assert_eq!(deep.key, r#"{}/{t=~"a|b"}/{u="1"}"#);
        assert_eq!(deep.group_labels(&labels! { "t" => "b", "u" => "1" }), labels! { "t" => "b", "u" => "1" });
        assert_eq!(root.group_labels(&labels! { "x" => "1", "y" => "2" }), labels! { "x" => "1" });
    }
}
