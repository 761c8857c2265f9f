//! Parsing a real metrics page: scanned anew, and with every series predicted, as in the steady state.

#[path = "page/node.rs"]
mod node;

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exposition::parse::{Entry, Parser, validate};

/// The page of upstream's own parser benches if it is at hand, else one of the same make.
fn page() -> String {
    let folder = std::env::var_os("CRESSET_CONFORMANCE_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"), PathBuf::from);
    std::fs::read_to_string(folder.join("exposition/alltypes.237mfs.prom.txt")).unwrap_or_else(|_| {
        let cpus = (0..8).flat_map(|cpu| {
            ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"]
                .map(|mode| format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} 12345.67\n"))
        });
        std::iter::once("# TYPE node_cpu_seconds_total counter\n".to_owned()).chain(cpus).collect()
    })
}

fn series_of(page: &str) -> Vec<String> {
    let mut parser = Parser::text(page);
    let mut all = Vec::new();
    while let Some(entry) = parser.advance("").expect("the page is valid") {
        if let Entry::Sample(line) = entry {
            all.push(line.series.to_owned());
        }
    }
    all
}

fn parse(page: &[u8], predictions: &[String]) -> f64 {
    let text = validate(page).expect("the page is UTF-8");
    let mut parser = Parser::text(text);
    let mut next = predictions.iter();
    let mut predicted = next.next().map_or("", String::as_str);
    let mut sum = 0.0;
    while let Some(entry) = parser.advance(predicted).expect("the page is valid") {
        if let Entry::Sample(line) = entry {
            sum += line.value;
            predicted = next.next().map_or("", String::as_str);
        }
    }
    sum
}

fn benches(criterion: &mut Criterion) {
    for (name, page) in [("parse_text_page", page()), ("parse_node_page", node::node_page(7))] {
        let series = series_of(&page);
        assert!(name != "parse_node_page" || series.len() as u64 == node::SERIES);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(page.len() as u64));
        group.bench_function("scanned", |b| b.iter(|| parse(black_box(page.as_bytes()), &[])));
        group.bench_function("predicted", |b| b.iter(|| parse(black_box(page.as_bytes()), &series)));
        group.finish();
    }
}

criterion_group!(parsing, benches);
criterion_main!(parsing);
