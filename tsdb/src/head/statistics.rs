//! Figures about the head for people: counts, and which labels and metrics weigh most.

use model::labels::METRIC_NAME;

use super::Head;

/// Counts of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadStatistics {
    /// Series.
    pub series: u64,
    /// Different label pairs.
    pub label_pairs: u64,
    /// Chunks, open ones included.
    pub chunks: u64,
    /// First sample in ms; `i64::MAX` if there is none.
    pub min_time: i64,
    /// Last sample in ms; `i64::MIN` if there is none.
    pub max_time: i64,
}

/// A name with its figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCount {
    /// A metric, a label, or `label=value`.
    pub name: String,
    /// Its figure.
    pub value: u64,
}

/// The largest of each kind, largest first, as `status/tsdb` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopLists {
    /// Series by metric name.
    pub series_by_metric_name: Vec<NamedCount>,
    /// Different values by label name.
    pub label_values_by_label_name: Vec<NamedCount>,
    /// Bytes of values by label name, each value counted once for every series.
    pub memory_bytes_by_label_name: Vec<NamedCount>,
    /// Series by label pair.
    pub series_by_label_pair: Vec<NamedCount>,
}

impl Head {
    /// Counts.
    pub(crate) fn statistics(&self) -> HeadStatistics {
        let label_pairs = self.postings.read().names().map(|(_, values)| values.len() as u64).sum();
        HeadStatistics {
            series: self.instruments.head.series.value().max(0) as u64,
            label_pairs,
            chunks: self.instruments.head.chunks.value().max(0) as u64,
            min_time: self.times.min(),
            max_time: self.times.max(),
        }
    }

    /// The `limit` largest of each kind.
    pub(crate) fn top_lists(&self, limit: usize) -> TopLists {
        let symbols = self.symbols.read();
        let postings = self.postings.read();
        let (mut metrics, mut values_by_name, mut bytes_by_name, mut pairs) =
            (Top::new(limit), Top::new(limit), Top::new(limit), Top::new(limit));
        for (name, values) in postings.names() {
            let name = symbols.text(name);
            let mut bytes = 0;
            for (value, posting) in values.iter() {
                let (value, count) = (symbols.text(*value), posting.len());
                bytes += value.len() as u64 * count;
                if name == METRIC_NAME {
                    metrics.offer(count, || value.to_owned());
                }
                pairs.offer(count, || format!("{name}={value}"));
            }
            values_by_name.offer(values.len() as u64, || name.to_owned());
            bytes_by_name.offer(bytes, || name.to_owned());
        }
        TopLists {
            series_by_metric_name: metrics.finish(),
            label_values_by_label_name: values_by_name.finish(),
            memory_bytes_by_label_name: bytes_by_name.finish(),
            series_by_label_pair: pairs.finish(),
        }
    }
}

/// Keeps the largest few of many.
struct Top {
    limit: usize,
    kept: Vec<NamedCount>,
    /// What a figure must exceed to be kept, once the list is full.
    floor: u64,
}

impl Top {
    fn new(limit: usize) -> Self {
        Self { limit, kept: Vec::new(), floor: 0 }
    }

    fn offer(&mut self, value: u64, name: impl FnOnce() -> String) {
        if self.limit == 0 || (self.kept.len() >= self.limit && value <= self.floor) {
            return;
        }
        self.kept.push(NamedCount { name: name(), value });
        if self.kept.len() >= self.limit * 2 {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        self.kept.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
        self.kept.truncate(self.limit);
        self.floor = self.kept.last().map_or(0, |last| last.value);
    }

    fn finish(mut self) -> Vec<NamedCount> {
        self.shrink();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stay() {
        let mut top = Top::new(2);
        for value in [3, 9, 1, 7, 8, 2, 9] {
            top.offer(value, || format!("n{value}"));
        }
        assert_eq!(top.finish().iter().map(|c| c.value).collect::<Vec<_>>(), [9, 9]);
    }
}
