//! Go-style text templates for annotations and notifications.
