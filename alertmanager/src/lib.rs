//! The alert router: routes, groups, inhibition, silences, receivers.
