//! API tokens: who may read, write and administrate, and what they see.
//!
//! The file of `--web.api-tokens.file` lists tokens by their SHA-256 digest, so that it gives none away. A token is a
//! random text of 256 bits, which no list of words leads to: a slow hash would add nothing. A token with matchers sees
//! only the series that all of them accept, whatever it asks for.

use std::collections::HashSet;
use std::sync::Arc;

use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::{Order, Querier, Queryable, SelectHints, SeriesSet, StorageError};
use net::server::gate::{Digest, Tokens};
use serde::Deserialize;

/// The most tokens of a file.
const TOKENS_MAX: usize = 10_000;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Queries, and what the server shows of itself.
    Read,
    /// Remote write, OTLP, and import.
    Write,
    /// Everything.
    Admin,
}

impl Role {
    /// Its name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        }
    }
}

/// The file as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokensFile {
    tokens: Vec<TokenEntry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    name: String,
    sha256: String,
    roles: Vec<Role>,
    matchers: Option<String>,
    expires: Option<String>,
}

impl TokensFile {
    /// Checks the entries; each token becomes what its requests carry.
    ///
    /// # Errors
    /// The first entry that is wrong, by name, and what was expected.
    pub fn activate(&self) -> Result<Tokens, String> {
        if self.tokens.len() > TOKENS_MAX {
            return Err(format!("{} tokens, more than the limit of {TOKENS_MAX}", self.tokens.len()));
        }
        let mut names = HashSet::new();
        let mut tokens = Tokens::default();
        for (index, entry) in self.tokens.iter().enumerate() {
            let wrong = |reason: String| format!("tokens[{index}] ({}): {reason}", entry.name);
            if entry.name.is_empty() || !names.insert(&entry.name) {
                return Err(wrong("expected a name that no other token has".into()));
            }
            let digest = digest_of(&entry.sha256).ok_or_else(|| wrong("sha256: expected 64 hex digits".into()))?;
            let access = entry.access().map_err(wrong)?;
            if !tokens.insert(digest, access) {
                return Err(wrong("sha256: another token has the same".into()));
            }
        }
        Ok(tokens)
    }
}

impl TokenEntry {
    fn access(&self) -> Result<Access, String> {
        if self.roles.is_empty() {
            return Err("roles: expected one or more of read, write, admin".into());
        }
        let matchers = match &self.matchers {
            None => Vec::new(),
            Some(text) => promql::parse_selector(text).map_err(|error| format!("matchers: {error}"))?,
        };
        if self.matchers.is_some() && matchers.iter().all(Matcher::matches_empty) {
            return Err("matchers: at least one must exclude series without its label".into());
        }
        if !matchers.is_empty() && self.roles != [Role::Read] {
            return Err("matchers confine what is read: roles must be [read]".into());
        }
        let expires = match &self.expires {
            None => Timestamp::MAX,
            Some(text) => {
                let time: jiff::Timestamp =
                    text.parse().map_err(|_| format!("expires: expected an RFC 3339 time, got {text:?}"))?;
                Timestamp(time.as_millisecond())
            }
        };
        Ok(Access { roles: self.roles.as_slice().into(), matchers: matchers.into(), expires })
    }
}

fn digest_of(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let bytes = text.as_bytes();
    if bytes.len() != 2 * digest.len() || !bytes.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// What a request may do and see.
#[derive(Debug, Clone)]
pub struct Access {
    roles: Arc<[Role]>,
    matchers: Arc<[Matcher]>,
    expires: Timestamp,
}

impl Default for Access {
    /// Everything: where nobody is asked for a token.
    fn default() -> Self {
        Self { roles: Arc::new([Role::Admin]), matchers: Arc::new([]), expires: Timestamp::MAX }
    }
}

impl Access {
    /// Whether it is allowed what `role` allows.
    pub fn has(&self, role: Role) -> bool {
        self.roles.iter().any(|own| *own == role || *own == Role::Admin)
    }

    /// Whether it is over at a time.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires <= now
    }

    /// Whether it sees only some series.
    pub fn is_confined(&self) -> bool {
        !self.matchers.is_empty()
    }

    /// Whether it sees a series, target, rule or alert with these labels.
    pub fn sees(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// As [`Access::sees`], of labels by name.
    pub fn sees_value_of<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(value_of(matcher.name()).unwrap_or("")))
    }

    /// Matchers with its own added.
    pub fn confine(&self, matchers: &[Matcher]) -> Vec<Matcher> {
        matchers.iter().chain(self.matchers.iter()).cloned().collect()
    }

    /// What it sees of a storage.
    pub fn view<'a>(&self, storage: &'a dyn Queryable) -> View<'a> {
        View { storage, access: self.clone() }
    }
}

/// A storage of which only the series within an [`Access`] are seen.
pub struct View<'a> {
    storage: &'a dyn Queryable,
    access: Access,
}

impl Queryable for View<'_> {
    fn querier(&self, min_time: Timestamp, max_time: Timestamp) -> Result<Box<dyn Querier>, StorageError> {
        let querier = self.storage.querier(min_time, max_time)?;
        if !self.access.is_confined() {
            return Ok(querier);
        }
        Ok(Box::new(Confined { querier, access: self.access.clone() }))
    }
}

struct Confined {
    querier: Box<dyn Querier>,
    access: Access,
}

impl Querier for Confined {
    fn select(
        &self,
        order: Order,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Box<dyn SeriesSet + '_>, StorageError> {
        self.querier.select(order, hints, &self.access.confine(matchers))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        self.querier.label_names(&self.access.confine(matchers), limit)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        self.querier.label_values(name, &self.access.confine(matchers), limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activated(text: &str) -> Result<Tokens, String> {
        serde_saphyr::from_str::<TokensFile>(text).map_err(|error| error.to_string())?.activate()
    }

    #[test]
    fn entries_are_checked() {
        let entry = |rest: &str| format!("tokens: [{{name: a, sha256: {:064}, {rest}}}]", 1);
        assert!(activated(&entry("roles: [read, write]")).is_ok());
        assert!(activated(&entry("roles: [read], matchers: '{team=\"a\"}', expires: 2030-01-01T00:00:00Z")).is_ok());
        for (rest, told) in [
            ("roles: []", "expected one or more of read, write, admin"),
            ("roles: [write], matchers: '{team=\"a\"}'", "roles must be [read]"),
            ("roles: [read], matchers: '{team=~\".*\"}'", "at least one must exclude"),
            ("roles: [read], matchers: '{'", "matchers: "),
            ("roles: [read], expires: tomorrow", "expected an RFC 3339 time"),
        ] {
            let error = activated(&entry(rest)).unwrap_err();
            assert!(error.starts_with("tokens[0] (a): ") && error.contains(told), "{error}");
        }
        assert!(activated("tokens: [{name: a, sha256: x, roles: [read]}]").unwrap_err().contains("64 hex digits"));
        let twice =
            "{name: a, sha256: 0000000000000000000000000000000000000000000000000000000000000001, roles: [read]}";
        assert!(activated(&format!("tokens: [{twice}, {twice}]")).unwrap_err().starts_with("tokens[1] (a)"));
    }

    #[test]
    fn roles_and_matchers_hold() {
        let matcher = promql::parse_selector("{team=\"a\"}").unwrap();
        let access = Access { roles: Arc::new([Role::Read]), matchers: matcher.into(), expires: Timestamp(10) };
        assert!(access.has(Role::Read) && !access.has(Role::Write) && !access.has(Role::Admin));
        assert!(access.is_over(Timestamp(10)) && !access.is_over(Timestamp(9)));
        let labels = |team: &str| Labels::from_pairs([("team", team)]).unwrap();
        assert!(access.sees(&labels("a")) && !access.sees(&labels("b")) && !access.sees(&Labels::empty()));
        assert_eq!(access.confine(&promql::parse_selector("up{team=\"b\"}").unwrap()).len(), 3);
        assert!(Access::default().has(Role::Write) && Access::default().sees(&Labels::empty()));
    }
}
