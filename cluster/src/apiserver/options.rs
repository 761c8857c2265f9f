//! What the query of a request asks for.

use serde_json::json;

use super::selector::{FieldSelector, LabelSelector};
use crate::api::Resource;
use crate::api::status::{Cause, Failure};
use crate::objects::Run;

/// The members of a query, decoded.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

/// What a list or a watch is limited to.
#[derive(Debug, Default)]
pub(super) struct ListOptions {
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
    pub(super) limit: Option<usize>,
    pub(super) next: Option<String>,
    pub(super) revision: Revision,
    pub(super) watch: bool,
    pub(super) bookmarks: bool,
    pub(super) initial_events: bool,
    pub(super) timeout_seconds: Option<u64>,
}

/// Which state of the objects a list shows or a watch starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Revision {
    /// The latest.
    #[default]
    Latest,
    /// Any, as long as it is served fast ("0").
    Any,
    /// Not older than this.
    AtLeast(u64),
    /// Exactly this.
    Exact(u64),
}

/// What becomes of members that the kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl Query {
    /// Decodes the query of a request. Empty pairs are skipped.
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or("").as_bytes());
        Self(
            pairs
                .filter(|(name, _)| !name.is_empty())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The value of a name; empty values count as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value != "false" && value != "0")
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.text(name).map(|text| text.parse().map_err(|_| malformed(name, text, "expected a number"))).transpose()
    }

    /// Whether the write is only tried.
    pub(super) fn run(&self) -> Result<Run, Failure> {
        match self.text("dryRun") {
            None => Ok(Run::Real),
            Some("All") => Ok(Run::Dry),
            Some(other) => Err(malformed("dryRun", other, "supported values: All")),
        }
    }

    pub(super) fn field_validation(&self) -> Result<FieldValidation, Failure> {
        match self.text("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some(other) => Err(malformed("fieldValidation", other, "supported values: Ignore, Strict, Warn")),
        }
    }

    /// Reads and checks what a list or watch is limited to.
    pub(super) fn list_options(&self, resource: &Resource) -> Result<ListOptions, Failure> {
        let positive = |name: &str| -> Result<Option<u64>, Failure> {
            let number = self.number(name)?;
            number
                .map(|number| {
                    u64::try_from(number).map_err(|_| malformed(name, &number.to_string(), "must not be negative"))
                })
                .transpose()
        };
        let options = ListOptions {
            labels: LabelSelector::parse(self.text("labelSelector").unwrap_or(""))?,
            fields: FieldSelector::parse(self.text("fieldSelector").unwrap_or(""), resource)?,
            limit: positive("limit")?
                .filter(|&limit| limit > 0)
                .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            next: self.text("continue").map(str::to_owned),
            revision: self.revision()?,
            watch: self.flag("watch"),
            bookmarks: self.flag("allowWatchBookmarks"),
            initial_events: self.flag("sendInitialEvents"),
            timeout_seconds: positive("timeoutSeconds")?.filter(|&seconds| seconds > 0),
        };
        self.check_list(&options)?;
        Ok(options)
    }

    fn revision(&self) -> Result<Revision, Failure> {
        let text = self.text("resourceVersion");
        let number = match text {
            None => None,
            Some(text) => {
                let number: u64 =
                    text.parse().map_err(|_| invalid_option("resourceVersion", text, "expected a number"))?;
                Some(number)
            }
        };
        match (self.text("resourceVersionMatch"), number) {
            (None, None) => Ok(Revision::Latest),
            (None | Some("NotOlderThan"), Some(0)) => Ok(Revision::Any),
            (None | Some("NotOlderThan"), Some(number)) => Ok(Revision::AtLeast(number)),
            (Some("Exact"), Some(0)) => Err(forbidden_option(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            )),
            (Some("Exact"), Some(number)) => Ok(Revision::Exact(number)),
            (Some("NotOlderThan"), None) if self.flag("watch") && self.flag("sendInitialEvents") => {
                Ok(Revision::Latest)
            }
            (Some("Exact" | "NotOlderThan"), None) => Err(forbidden_option(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )),
            (Some(other), _) => Err(unsupported_match(other)),
        }
    }

    fn check_list(&self, options: &ListOptions) -> Result<(), Failure> {
        let matched = self.text("resourceVersionMatch");
        if options.next.is_some() && matched.is_some() {
            return Err(forbidden_option(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if options.next.is_some() && !matches!(options.revision, Revision::Latest | Revision::Any) {
            return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
        }
        if self.text("sendInitialEvents").is_some() && !options.watch {
            return Err(forbidden_option("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        if options.initial_events && matched != Some("NotOlderThan") {
            return Err(forbidden_option(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if options.watch && self.text("sendInitialEvents").is_none() && matched.is_some() {
            return Err(forbidden_option(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        Ok(())
    }
}

fn malformed(name: &str, value: &str, expected: &str) -> Failure {
    Failure::bad_request(format!("query parameter {name}: invalid value {value:?}: {expected}"))
}

fn option_failure(reason: &'static str, field: &str, message: String) -> Failure {
    let cause = Cause { reason, message, field: field.to_owned() };
    Failure::invalid("meta.k8s.io", "ListOptions", "", vec![cause])
}

fn invalid_option(field: &str, value: &str, rule: &str) -> Failure {
    option_failure("FieldValueInvalid", field, format!("Invalid value: {}: {rule}", json!(value)))
}

fn forbidden_option(field: &str, why: &str) -> Failure {
    option_failure("FieldValueForbidden", field, format!("Forbidden: {why}"))
}

fn unsupported_match(value: &str) -> Failure {
    let message = format!("Unsupported value: {}: supported values: \"Exact\", \"NotOlderThan\", \"\"", json!(value));
    option_failure("FieldValueNotSupported", "resourceVersionMatch", message)
}
