//! What this server says about its version. kubectl picks its own version by the minor number.

use serde_json::{Value, json};

/// The minor version of Kubernetes whose protocol is spoken.
pub(super) const MINOR: &str = "32";

/// The version that nodes and the server report.
pub(crate) fn git_version() -> String {
    format!("v1.{MINOR}.0+cresset-{}", env!("CARGO_PKG_VERSION"))
}

/// The document of `/version`.
pub(super) fn document() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": git_version(), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, crate::controller::host::architecture()),
    })
}
