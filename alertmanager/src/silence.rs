//! Silences: alerts that people do not want to hear of for a while.

use std::collections::HashMap;
use std::path::Path;

use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::pattern::PatternError;
use parking_lot::RwLock;

use crate::journal::{Journal, JournalError, WireTime};

/// The most silences kept.
pub const SILENCES_MAX: usize = 100_000;

/// Where a silence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceState {
    /// Begins later.
    Pending,
    /// Holds.
    Active,
    /// Has ended.
    Expired,
}

impl SilenceState {
    /// As the API shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            SilenceState::Pending => "pending",
            SilenceState::Active => "active",
            SilenceState::Expired => "expired",
        }
    }
}

/// A silence. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// Empty for a new one.
    pub id: String,
    /// Which alerts.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts_at_ms: i64,
    /// Until when.
    pub ends_at_ms: i64,
    /// When it was last changed.
    pub updated_at_ms: i64,
    /// By whom.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

impl Silence {
    /// Where it stands at `now_ms`.
    pub fn state_at(&self, now_ms: i64) -> SilenceState {
        if now_ms >= self.ends_at_ms {
            SilenceState::Expired
        } else if now_ms < self.starts_at_ms {
            SilenceState::Pending
        } else {
            SilenceState::Active
        }
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }
}

/// Why a silence is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SilenceError {
    /// No silence has this id.
    #[error("silence {0} not found")]
    NotFound(String),
    /// A rule between its parts is broken.
    #[error("invalid silence: {0}")]
    Invalid(&'static str),
    /// There are too many.
    #[error("exceeded maximum number of silences: {SILENCES_MAX}")]
    TooMany,
    /// It could not be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// All silences.
#[derive(Debug)]
pub struct Silences {
    inner: RwLock<Inner>,
    /// How long ended ones are kept, in milliseconds.
    retention_ms: i64,
}

#[derive(Debug)]
struct Inner {
    by_id: HashMap<String, Silence>,
    journal: Journal<WireMeshSilence>,
}

impl Silences {
    /// Opens the silences kept in `path`.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(path: &Path, retention_ms: i64) -> Result<Self, JournalError> {
        let (journal, messages) = Journal::<WireMeshSilence>::open(path)?;
        let mut by_id = HashMap::new();
        for message in messages {
            match message.silence.map(Silence::try_from) {
                Some(Ok(silence)) => drop(by_id.insert(silence.id.clone(), silence)),
                Some(Err(error)) => tracing::warn!(%error, "silence with an unreadable matcher left out"),
                None => {}
            }
        }
        Ok(Self { inner: RwLock::new(Inner { by_id, journal }), retention_ms })
    }

    /// All silences.
    pub fn all(&self) -> Vec<Silence> {
        self.inner.read().by_id.values().cloned().collect()
    }

    /// One silence.
    pub fn get(&self, id: &str) -> Option<Silence> {
        self.inner.read().by_id.get(id).cloned()
    }

    /// Ids of the silences that hold for `labels`, sorted.
    pub fn silenced_by(&self, labels: &Labels, now_ms: i64) -> Vec<String> {
        let inner = self.inner.read();
        let holds = |silence: &&Silence| silence.state_at(now_ms) == SilenceState::Active && silence.matches(labels);
        let mut ids: Vec<String> = inner.by_id.values().filter(holds).map(|s| s.id.clone()).collect();
        ids.sort();
        ids
    }

    /// Takes a new silence, or changes one: in place if only its end (or, while pending, its start) changes, else the
    /// old one expires and a new one begins. Gives its id.
    ///
    /// # Errors
    /// See [`SilenceError`].
    pub fn set(&self, mut silence: Silence, now_ms: i64) -> Result<String, SilenceError> {
        validate(&silence)?;
        silence.updated_at_ms = now_ms;
        let mut inner = self.inner.write();
        if !silence.id.is_empty() {
            let id = silence.id.clone();
            let known = inner.by_id.get(&id).cloned().ok_or_else(|| SilenceError::NotFound(id.clone()))?;
            if can_update(&known, &silence, now_ms) {
                inner.put(silence, self.retention_ms)?;
                return Ok(id);
            }
            if known.state_at(now_ms) != SilenceState::Expired {
                inner.expire(known, now_ms, self.retention_ms)?;
            }
        }
        if inner.by_id.len() >= SILENCES_MAX {
            return Err(SilenceError::TooMany);
        }
        if silence.ends_at_ms <= now_ms {
            return Err(SilenceError::Invalid("end time can't be in the past"));
        }
        silence.starts_at_ms = silence.starts_at_ms.max(now_ms);
        silence.id = uuid::Uuid::new_v4().to_string();
        let id = silence.id.clone();
        inner.put(silence, self.retention_ms)?;
        Ok(id)
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// If there is none of that id, or it has ended.
    pub fn expire(&self, id: &str, now_ms: i64) -> Result<(), SilenceError> {
        let mut inner = self.inner.write();
        let silence = inner.by_id.get(id).cloned().ok_or_else(|| SilenceError::NotFound(id.to_owned()))?;
        if silence.state_at(now_ms) == SilenceState::Expired {
            return Ok(());
        }
        inner.expire(silence, now_ms, self.retention_ms)
    }

    /// Forgets silences that ended long ago.
    pub fn collect_garbage(&self, now_ms: i64) {
        let mut inner = self.inner.write();
        let retention = self.retention_ms;
        inner.by_id.retain(|_, silence| silence.ends_at_ms.saturating_add(retention) > now_ms);
        let Inner { by_id, journal } = &mut *inner;
        let current = by_id.values().map(|silence| wire(silence, retention));
        if let Err(error) = journal.rewrite_if_outdated(by_id.len(), current) {
            tracing::warn!(%error, "silences could not be written anew");
        }
    }
}

impl Inner {
    fn put(&mut self, silence: Silence, retention_ms: i64) -> Result<(), SilenceError> {
        self.journal.append(&wire(&silence, retention_ms))?;
        self.by_id.insert(silence.id.clone(), silence);
        Ok(())
    }

    fn expire(&mut self, mut silence: Silence, now_ms: i64, retention_ms: i64) -> Result<(), SilenceError> {
        silence.starts_at_ms = silence.starts_at_ms.min(now_ms);
        silence.ends_at_ms = now_ms;
        silence.updated_at_ms = now_ms;
        self.put(silence, retention_ms)
    }
}

fn validate(silence: &Silence) -> Result<(), SilenceError> {
    if silence.matchers.is_empty() {
        return Err(SilenceError::Invalid("at least one matcher required"));
    }
    if silence.matchers.iter().all(Matcher::matches_empty) {
        return Err(SilenceError::Invalid("at least one matcher must not match the empty string"));
    }
    if silence.ends_at_ms <= silence.starts_at_ms {
        return Err(SilenceError::Invalid("end time must not be before start time"));
    }
    Ok(())
}

fn can_update(old: &Silence, new: &Silence, now_ms: i64) -> bool {
    if old.matchers != new.matchers || new.ends_at_ms <= now_ms {
        return false;
    }
    match old.state_at(now_ms) {
        SilenceState::Active => old.starts_at_ms == new.starts_at_ms,
        SilenceState::Pending => new.starts_at_ms >= now_ms,
        SilenceState::Expired => false,
    }
}

/// `silencepb.MeshSilence`.
#[derive(Clone, PartialEq, prost::Message)]
struct WireMeshSilence {
    #[prost(message, optional, tag = "1")]
    silence: Option<WireSilence>,
    #[prost(message, optional, tag = "2")]
    expires_at: Option<WireTime>,
}

/// `silencepb.Silence`.
#[derive(Clone, PartialEq, prost::Message)]
struct WireSilence {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, repeated, tag = "2")]
    matchers: Vec<WireMatcher>,
    #[prost(message, optional, tag = "3")]
    starts_at: Option<WireTime>,
    #[prost(message, optional, tag = "4")]
    ends_at: Option<WireTime>,
    #[prost(message, optional, tag = "5")]
    updated_at: Option<WireTime>,
    #[prost(string, tag = "8")]
    created_by: String,
    #[prost(string, tag = "9")]
    comment: String,
}

/// `silencepb.Matcher`; types: 0 `=`, 1 `=~`, 2 `!=`, 3 `!~`.
#[derive(Clone, PartialEq, prost::Message)]
struct WireMatcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    pattern: String,
}

const WIRE_OPS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::Regex, MatchOp::NotEqual, MatchOp::NotRegex];

fn wire(silence: &Silence, retention_ms: i64) -> WireMeshSilence {
    let matchers = silence.matchers.iter().map(|matcher| WireMatcher {
        kind: WIRE_OPS.iter().position(|op| *op == matcher.op()).unwrap_or(0) as i32,
        name: matcher.name().to_owned(),
        pattern: matcher.value().to_owned(),
    });
    WireMeshSilence {
        silence: Some(WireSilence {
            id: silence.id.clone(),
            matchers: matchers.collect(),
            starts_at: Some(WireTime::from_ms(silence.starts_at_ms)),
            ends_at: Some(WireTime::from_ms(silence.ends_at_ms)),
            updated_at: Some(WireTime::from_ms(silence.updated_at_ms)),
            created_by: silence.created_by.clone(),
            comment: silence.comment.clone(),
        }),
        expires_at: Some(WireTime::from_ms(silence.ends_at_ms.saturating_add(retention_ms))),
    }
}

impl TryFrom<WireSilence> for Silence {
    type Error = PatternError;

    fn try_from(wire: WireSilence) -> Result<Self, PatternError> {
        let matcher = |m: WireMatcher| {
            let op = usize::try_from(m.kind).ok().and_then(|kind| WIRE_OPS.get(kind).copied());
            Matcher::new(&m.name, op.unwrap_or(MatchOp::Equal), &m.pattern)
        };
        let ms = |time: Option<WireTime>| time.map_or(0, WireTime::as_ms);
        Ok(Self {
            id: wire.id,
            matchers: wire.matchers.into_iter().map(matcher).collect::<Result<_, _>>()?,
            starts_at_ms: ms(wire.starts_at),
            ends_at_ms: ms(wire.ends_at),
            updated_at_ms: ms(wire.updated_at),
            created_by: wire.created_by,
            comment: wire.comment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    fn silence(from: i64, to: i64) -> Silence {
        Silence {
            id: String::new(),
            matchers: vec![Matcher::equal("a", "b")],
            starts_at_ms: from,
            ends_at_ms: to,
            updated_at_ms: 0,
            created_by: "me".into(),
            comment: "why".into(),
        }
    }

    #[test]
    fn a_silence_holds_while_active_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silences");
        let silences = Silences::open(&path, 1000).unwrap();
        let id = silences.set(silence(100, 200), 100).unwrap();
        let labels = labels! { "a" => "b", "c" => "d" };
        assert_eq!(silences.silenced_by(&labels, 150), std::slice::from_ref(&id));
        assert!(silences.silenced_by(&labels, 200).is_empty());
        drop(silences);
        let silences = Silences::open(&path, 1000).unwrap();
        assert_eq!(silences.silenced_by(&labels, 150), std::slice::from_ref(&id));
        silences.expire(&id, 160).unwrap();
        assert!(silences.silenced_by(&labels, 170).is_empty());
        silences.collect_garbage(2000);
        assert!(silences.all().is_empty());
    }

    #[test]
    fn only_an_end_can_change_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let silences = Silences::open(&folder.path().join("s"), 1000).unwrap();
        let id = silences.set(silence(100, 200), 100).unwrap();
        let longer = Silence { id: id.clone(), ..silence(100, 300) };
        assert_eq!(silences.set(longer, 150).unwrap(), id);
        let other = Silence { id: id.clone(), matchers: vec![Matcher::equal("x", "y")], ..silence(100, 300) };
        let new = silences.set(other, 150).unwrap();
        assert_ne!(new, id);
        assert_eq!(silences.get(&id).unwrap().state_at(151), SilenceState::Expired);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let silences = Silences::open(&folder.path().join("s"), 1000).unwrap();
        let refused = |s: Silence| silences.set(s, 500).unwrap_err().to_string();
        assert!(refused(Silence { matchers: vec![], ..silence(500, 600) }).contains("at least one matcher required"));
        assert!(
            refused(Silence { matchers: vec![Matcher::equal("a", "")], ..silence(500, 600) }).contains("empty string")
        );
        assert!(refused(silence(600, 500)).contains("before start"));
        assert!(refused(silence(100, 200)).contains("in the past"));
        assert!(refused(Silence { id: "nope".into(), ..silence(500, 600) }).contains("not found"));
    }
}
