//! Recording and alerting rules: groups, alert states, the notifier.
