//! Alerts as the router knows them.

use std::collections::BTreeMap;

use jiff::Timestamp as Time;
use model::labels::Labels;

/// An alert. Times are milliseconds since the epoch; it has ended when `ends_at_ms` is not after now.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// What it is about: its identity.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: BTreeMap<String, String>,
    /// When it began.
    pub starts_at_ms: i64,
    /// When it ended or will end.
    pub ends_at_ms: i64,
    /// When it was last heard of.
    pub updated_at_ms: i64,
    /// Where it came from.
    pub generator_url: String,
    /// Whether its end is a guess because its sender named none.
    pub ends_by_timeout: bool,
}

impl Alert {
    /// Alertmanager's fingerprint: FNV-1a over names and values, each followed by 0xff, which is the packed form.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.labels)
    }

    /// Whether it has ended at `now_ms`.
    pub fn is_resolved_at(&self, now_ms: i64) -> bool {
        self.ends_at_ms <= now_ms
    }

    /// What is known when `self` is followed by `newer`: the earliest start, the newest texts, the end that was said.
    pub fn merged_with(&self, newer: &Alert, now_ms: i64) -> Alert {
        let mut merged = newer.clone();
        merged.starts_at_ms = merged.starts_at_ms.min(self.starts_at_ms);
        if newer.is_resolved_at(now_ms) {
            if self.is_resolved_at(now_ms) {
                merged.ends_at_ms = merged.ends_at_ms.max(self.ends_at_ms);
            }
        } else if self.ends_at_ms > newer.ends_at_ms && !self.ends_by_timeout {
            merged.ends_at_ms = self.ends_at_ms;
        }
        merged
    }
}

/// See [`Alert::fingerprint`].
pub fn fingerprint(labels: &Labels) -> u64 {
    const OFFSET: u64 = 14_695_981_039_346_656_037;
    const PRIME: u64 = 1_099_511_628_211;
    labels.as_bytes().iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// A time as the API and webhooks write it. Out of the calendar's range it is the epoch.
pub fn rfc3339(ms: i64) -> String {
    Time::from_millisecond(ms).unwrap_or(Time::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    #[test]
    fn fingerprints_are_alertmanagers() {
        // FNV-1a of nothing, and of "a\xffb\xff".
        assert_eq!(fingerprint(&Labels::empty()), 0xcbf2_9ce4_8422_2325);
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in b"a\xffb\xff" {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        assert_eq!(fingerprint(&labels! { "a" => "b" }), hash);
    }
}
