//! The endpoints under `/api/v1`, with their parameters.

/// One path.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    pub(super) methods: &'static [&'static str],
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// Content types of the body, where it is no form.
    pub(super) body: Option<&'static [&'static str]>,
    /// The content type of the answer; empty if there is none.
    pub(super) answer: &'static str,
}

/// A parameter: of the path, the query, or a form.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) is_required: bool,
    pub(super) about: &'static str,
}

/// What a parameter's text is.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Text,
    /// It may come more than once.
    Texts,
    Integer,
    Truth,
    Time,
    Duration,
    OneOf(&'static [&'static str]),
}

use Form::{Duration, Integer, OneOf, Text, Texts, Time, Truth};

const fn optional(name: &'static str, form: Form, about: &'static str) -> Parameter {
    Parameter { name, form, is_required: false, about }
}

const fn required(name: &'static str, form: Form, about: &'static str) -> Parameter {
    Parameter { name, form, is_required: true, about }
}

const QUERY: Parameter = required("query", Text, "A PromQL expression");
const TIME: Parameter = optional("time", Time, "When to evaluate; now if absent");
const TIMEOUT: Parameter = optional("timeout", Duration, "How long it may take, at most the server's limit");
const LIMIT: Parameter = optional("limit", Integer, "The most results; 0 for all");
const LOOKBACK_DELTA: Parameter = optional("lookback_delta", Duration, "How far back a sample counts");
const STATS: Parameter = optional("stats", OneOf(&["true", "all"]), "Statistics of the evaluation");
const EXPLAIN: Parameter = optional("explain", Truth, "Shows the plan instead of running it");
const ANALYZE: Parameter = optional("analyze", Truth, "Adds the plan with what each operator took");
const START_REQUIRED: Parameter = required("start", Time, "First time");
const END_REQUIRED: Parameter = required("end", Time, "Last time");
const STEP: Parameter = required("step", Duration, "Distance of two points");
const START: Parameter = optional("start", Time, "First time");
const END: Parameter = optional("end", Time, "Last time");
const MATCHS_REQUIRED: Parameter = required("match[]", Texts, "Selectors of series");
const MATCHS: Parameter = optional("match[]", Texts, "Selectors of series");
const NAME: Parameter = required("name", Text, "The label; what is no legacy name may be escaped behind U__");
const LIMIT_PER_METRIC: Parameter = optional("limit_per_metric", Integer, "The most entries of a metric");
const METRIC: Parameter = optional("metric", Text, "One metric alone");
const STATE: Parameter = optional("state", OneOf(&["active", "dropped", "any"]), "Which targets");
const SCRAPE_POOL: Parameter = optional("scrapePool", Text, "One pool alone");
const MATCH_TARGET: Parameter = optional("match_target", Text, "A selector of targets");
const TYPE: Parameter = optional("type", OneOf(&["alert", "record"]), "Which rules");
const RULE_NAMES: Parameter = optional("rule_name[]", Texts, "Names of rules");
const RULE_GROUPS: Parameter = optional("rule_group[]", Texts, "Names of groups");
const FILES: Parameter = optional("file[]", Texts, "Files of groups");
const EXCLUDE_ALERTS: Parameter = optional("exclude_alerts", Truth, "Leaves the alerts out");
const GROUP_LIMIT: Parameter = optional("group_limit", Integer, "Groups of a page");
const GROUP_NEXT_TOKEN: Parameter = optional("group_next_token", Text, "Where the page begins");
const SINCE: Parameter = optional("since", Time, "Growth since then");
const SEARCHS: Parameter = optional("search[]", Texts, "Terms to look for");
const FUZZ_THRESHOLD: Parameter = optional("fuzz_threshold", Integer, "How near a result must be, from 0 to 100");
const FUZZ_ALG: Parameter = optional("fuzz_alg", OneOf(&["subsequence", "jarowinkler"]), "How nearness is measured");
const CASE_SENSITIVE: Parameter = optional("case_sensitive", Truth, "Whether capitals differ");
const SORT_BY: Parameter = optional("sort_by", OneOf(&["alpha", "score"]), "The order");
const SORT_DIR: Parameter = optional("sort_dir", OneOf(&["asc", "dsc"]), "Its direction");
const INCLUDE_SCORE: Parameter = optional("include_score", Truth, "Adds scores");
const BATCH_SIZE: Parameter = optional("batch_size", Integer, "Results of a line");
const INCLUDE_METADATA: Parameter = optional("include_metadata", Truth, "Adds type, help and unit");
const LABEL: Parameter = required("label", Text, "The label");
const FORMAT: Parameter = optional("format", OneOf(&["jsonl", "openmetrics"]), "The form of the answer");
const OPENAPI_VERSION: Parameter = optional("openapi_version", OneOf(&["3.1", "3.2"]), "The version of the document");
const SCRAPE_POOL_REQUIRED: Parameter = required("scrapePool", Text, "The pool");
const LABELS: Parameter = required("labels", Text, "Labels as a JSON object");
const METRIC_NAME_PATTERN: Parameter = optional("metric_name_pattern", Text, "A regular expression of names, anchored");
const ID: Parameter = required("id", Text, "The query's number in the list");
const SKIP_HEAD: Parameter = optional("skip_head", Truth, "Leaves out what is in no block yet");

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

const fn shown(path: &'static str, summary: &'static str, parameters: &'static [Parameter]) -> Endpoint {
    Endpoint { path, methods: &["GET"], summary, parameters, body: None, answer: JSON }
}

const fn asked(path: &'static str, summary: &'static str, parameters: &'static [Parameter]) -> Endpoint {
    Endpoint { path, methods: &["GET", "POST"], summary, parameters, body: None, answer: JSON }
}

const fn sent(
    path: &'static str,
    summary: &'static str,
    body: &'static [&'static str],
    answer: &'static str,
) -> Endpoint {
    Endpoint { path, methods: &["POST"], summary, parameters: &[], body: Some(body), answer }
}

pub(super) const ENDPOINTS: &[Endpoint] = &[
    asked(
        "/query",
        "Evaluates an expression at one time",
        &[QUERY, TIME, TIMEOUT, LIMIT, LOOKBACK_DELTA, STATS, EXPLAIN, ANALYZE],
    ),
    asked(
        "/query_range",
        "Evaluates an expression over a range of time",
        &[QUERY, START_REQUIRED, END_REQUIRED, STEP, TIMEOUT, LIMIT, LOOKBACK_DELTA, STATS, EXPLAIN, ANALYZE],
    ),
    asked("/query_exemplars", "Exemplars of the series that an expression selects", &[QUERY, START, END]),
    asked("/format_query", "Prints an expression over several lines", &[QUERY]),
    asked("/parse_query", "The syntax tree of an expression", &[QUERY]),
    asked("/series", "Label sets of series", &[MATCHS_REQUIRED, START, END, LIMIT]),
    asked("/labels", "Names of labels", &[MATCHS, START, END, LIMIT]),
    shown("/label/{name}/values", "Values of a label", &[NAME, MATCHS, START, END, LIMIT]),
    shown("/metadata", "What targets say of their metrics", &[LIMIT, LIMIT_PER_METRIC, METRIC]),
    shown("/targets", "Targets, scraped and dropped", &[STATE, SCRAPE_POOL]),
    shown("/targets/metadata", "Metadata by target", &[MATCH_TARGET, METRIC, LIMIT]),
    shown(
        "/rules",
        "Groups of rules with their state",
        &[TYPE, RULE_NAMES, RULE_GROUPS, FILES, MATCHS, EXCLUDE_ALERTS, GROUP_LIMIT, GROUP_NEXT_TOKEN],
    ),
    shown("/alerts", "Alerts that are active", &[]),
    shown("/status/buildinfo", "The version", &[]),
    shown("/status/cardinality", "Series by metric, label and pair, with growth", &[MATCHS, TIME, SINCE, LIMIT]),
    shown("/status/walreplay", "How far the replay of the log has come", &[]),
    Endpoint {
        answer: NDJSON,
        ..asked(
            "/search/metric_names",
            "Searches names of metrics",
            &[
                MATCHS,
                SEARCHS,
                FUZZ_THRESHOLD,
                FUZZ_ALG,
                CASE_SENSITIVE,
                SORT_BY,
                SORT_DIR,
                INCLUDE_SCORE,
                START,
                END,
                LIMIT,
                BATCH_SIZE,
                INCLUDE_METADATA,
            ],
        )
    },
    Endpoint {
        answer: NDJSON,
        ..asked(
            "/search/label_names",
            "Searches names of labels",
            &[
                MATCHS,
                SEARCHS,
                FUZZ_THRESHOLD,
                FUZZ_ALG,
                CASE_SENSITIVE,
                SORT_BY,
                SORT_DIR,
                INCLUDE_SCORE,
                START,
                END,
                LIMIT,
                BATCH_SIZE,
            ],
        )
    },
    Endpoint {
        answer: NDJSON,
        ..asked(
            "/search/label_values",
            "Searches values of a label",
            &[
                LABEL,
                MATCHS,
                SEARCHS,
                FUZZ_THRESHOLD,
                FUZZ_ALG,
                CASE_SENSITIVE,
                SORT_BY,
                SORT_DIR,
                INCLUDE_SCORE,
                START,
                END,
                LIMIT,
                BATCH_SIZE,
            ],
        )
    },
    shown("/features", "What this server can do", &[]),
    sent("/read", "Remote read", &["application/x-protobuf"], "application/x-protobuf"),
    Endpoint {
        answer: "application/jsonl",
        ..asked("/export", "Samples of any age as lines", &[MATCHS_REQUIRED, START, END, FORMAT])
    },
    Endpoint { answer: "application/yaml", ..shown("/openapi.yaml", "This document", &[OPENAPI_VERSION]) },
    shown(
        "/targets/relabel_steps",
        "What each relabelling rule of a pool makes of labels",
        &[SCRAPE_POOL_REQUIRED, LABELS],
    ),
    shown("/scrape_pools", "Names of scrape pools", &[]),
    shown("/scrape_pools/config", "The configuration of a pool", &[SCRAPE_POOL_REQUIRED]),
    shown("/alertmanagers", "Alert routers that are told", &[]),
    shown("/status/config", "The configuration in force, secrets masked", &[]),
    shown("/status/flags", "Flags and their values", &[]),
    shown("/status/runtimeinfo", "The process", &[]),
    shown("/status/tsdb", "Statistics of the head", &[LIMIT]),
    shown("/status/tsdb/blocks", "Blocks of the storage", &[]),
    shown("/status/self_metrics", "Own metrics as JSON", &[METRIC_NAME_PATTERN]),
    shown("/status/active_queries", "Queries that run", &[]),
    shown("/notifications", "What whoever looks is told", &[]),
    Endpoint { answer: "text/event-stream", ..shown("/notifications/live", "The same, as it comes", &[]) },
    sent(
        "/write",
        "Remote write 1.0 and 2.0",
        &["application/x-protobuf", "application/x-protobuf;proto=io.prometheus.write.v2.Request"],
        "",
    ),
    sent("/otlp/v1/metrics", "OTLP metrics", &["application/x-protobuf", "application/json"], JSON),
    sent("/import", "Takes in samples of any age", &["application/jsonl", "application/openmetrics-text"], JSON),
    Endpoint { methods: &["DELETE"], ..shown("/status/active_queries/{id}", "Cancels a query", &[ID]) },
    Endpoint {
        methods: &["POST", "PUT"],
        answer: "",
        ..shown("/admin/tsdb/delete_series", "Deletes samples of series", &[MATCHS_REQUIRED, START, END])
    },
    Endpoint {
        methods: &["POST", "PUT"],
        answer: "",
        ..shown("/admin/tsdb/clean_tombstones", "Removes what is deleted from the disk", &[])
    },
    Endpoint {
        methods: &["POST", "PUT"],
        ..shown("/admin/tsdb/snapshot", "Links a copy of the storage", &[SKIP_HEAD])
    },
];
