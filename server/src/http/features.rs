//! What this server can do, by category, as clients ask for it (`/api/v1/features`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use promql::function::FUNCTIONS;

use super::Api;
use super::envelope::success;

/// Words of the query language.
const KEYWORDS: [&str; 13] = [
    "and",
    "atan2",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "offset",
    "on",
    "or",
    "start",
    "unless",
    "without",
];
const OPERATORS: [&str; 18] =
    ["!=", "!~", "%", "*", "+", "-", "/", "<", "<=", "==", "=~", ">", ">=", "@", "^", "and", "or", "unless"];
const AGGREGATIONS: [&str; 12] =
    ["avg", "bottomk", "count", "count_values", "group", "max", "min", "quantile", "stddev", "stdvar", "sum", "topk"];
const EXPERIMENTAL_AGGREGATIONS: [&str; 2] = ["limit_ratio", "limitk"];
/// Mechanisms of discovery that run here.
const PROVIDERS: [&str; 8] = ["consul", "dns", "docker", "file", "http", "kubernetes", "nomad", "static"];
const TEMPLATE_FUNCTIONS: [&str; 31] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "parseDurationTime",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "tmpl",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

type Flags = BTreeMap<String, bool>;

fn all_on<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> Flags {
    names.into_iter().map(|name| ((*name).to_owned(), true)).collect()
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Response {
    success(categories(&api))
}

fn categories(api: &Api) -> BTreeMap<&'static str, Flags> {
    let (web, features) = (&api.web, &api.features);
    let flags =
        |pairs: &[(&str, bool)]| -> Flags { pairs.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect() };
    let experimental = features.language.experimental_functions;
    let mut promql = all_on(&KEYWORDS);
    promql.extend(flags(&[
        ("anchored", features.language.extended_range_selectors),
        ("smoothed", features.language.extended_range_selectors),
        ("fill", features.language.fill_modifiers),
        ("fill_left", features.language.fill_modifiers),
        ("fill_right", features.language.fill_modifiers),
        ("at_modifier", true),
        ("negative_offset", true),
        ("per_step_stats", features.per_step_stats),
        ("delayed_name_removal", features.delayed_name_removal),
        ("type_and_unit_labels", features.ingest.type_and_unit),
        ("per_query_lookback_delta", true),
        ("subqueries", true),
        ("duration_expr", true),
    ]));
    let mut operators = all_on(OPERATORS.iter().chain(&AGGREGATIONS));
    operators.extend(EXPERIMENTAL_AGGREGATIONS.iter().map(|name| ((*name).to_owned(), experimental)));
    let functions = FUNCTIONS.iter().map(|f| (f.name.to_owned(), !f.experimental || experimental)).collect();
    BTreeMap::from([
        (
            "api",
            flags(&[
                ("lifecycle", web.lifecycle),
                ("admin", web.admin),
                ("remote_write_receiver", web.remote_write),
                ("otlp_write_receiver", web.otlp),
                ("search", features.search),
                ("search_fuzz_alg_subsequence", true),
                ("search_fuzz_alg_jarowinkler", true),
                ("label_values_match", true),
                ("query_warnings", true),
                ("query_stats", true),
                ("time_range_series", true),
                ("time_range_labels", true),
                ("exclude_alerts", true),
            ]),
        ),
        (
            "otlp_receiver",
            flags(&[
                ("delta_conversion", features.otlp_delta_to_cumulative),
                ("native_delta_ingestion", features.otlp_native_delta),
            ]),
        ),
        ("prometheus", flags(&[("agent_mode", false), ("server_mode", true), ("auto_reload_config", api.auto_reload)])),
        ("promql", promql),
        ("promql_functions", functions),
        ("promql_operators", operators),
        ("rules", flags(&[("concurrent_rule_eval", false), ("query_offset", true), ("keep_firing_for", true)])),
        (
            "scrape",
            flags(&[
                ("extra_scrape_metrics", true),
                ("start_timestamp_zero_ingestion", features.ingest.zero_at_start),
                ("type_and_unit_labels", features.ingest.type_and_unit),
            ]),
        ),
        ("service_discovery_providers", all_on(&PROVIDERS)),
        ("templating_functions", all_on(&TEMPLATE_FUNCTIONS)),
        (
            "tsdb",
            flags(&[
                ("exemplar_storage", features.exemplars),
                ("delayed_compaction", false),
                ("isolation", true),
                ("native_histograms", true),
                ("st_storage", features.ingest.starts),
                ("metadata_wal_records", features.ingest.metadata),
            ]),
        ),
    ])
}
