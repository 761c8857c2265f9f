//! What is kept and for how long: pure rules over what the blocks are.

use model::labels::Labels;
use model::matcher::Matcher;

use crate::block::meta::BlockMeta;
use crate::error::Error;

/// How long samples are kept, and how much room they may take. The default keeps everything.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Retention {
    /// Blocks that end so much before the newest one go.
    pub time_ms: Option<i64>,
    /// While all files of the database take more, the oldest block goes.
    pub bytes: Option<u64>,
    /// The same as a share of the disk, in percent; of both limits the smaller one counts.
    pub disk_percentage: Option<f64>,
    /// Series that are kept for another time; the first rule that matches counts.
    pub rules: Vec<RetentionRule>,
}

impl Retention {
    /// Checks each limit against its range.
    ///
    /// # Errors
    /// The first that is out of it.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let broken = |name, reason| Err(Error::Setting { name, reason });
        if self.time_ms.is_some_and(|time| time <= 0) {
            return broken("retention_ms", "must be positive");
        }
        if self.disk_percentage.is_some_and(|share| !(0.0..=100.0).contains(&share)) {
            return broken("retention_disk_percentage", "must be between 0 and 100");
        }
        if self.rules.iter().any(|rule| rule.time_ms <= 0 || rule.matchers.is_empty()) {
            return broken("retention_rules", "must each have a matcher and a positive time");
        }
        Ok(())
    }
}

/// Series that are kept for a time of their own.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetentionRule {
    /// All of them must accept a series.
    pub matchers: Vec<Matcher>,
    /// How long its samples are kept.
    pub time_ms: i64,
}

impl RetentionRule {
    /// Keeps series that all matchers accept for `time_ms`.
    pub fn new(matchers: Vec<Matcher>, time_ms: i64) -> Self {
        Self { matchers, time_ms }
    }
}

/// From which time on samples of a series are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeptFrom<'a> {
    retention: &'a Retention,
    /// End of the newest block.
    newest: i64,
}

impl<'a> KeptFrom<'a> {
    pub(crate) fn new(retention: &'a Retention, newest: i64) -> Self {
        Self { retention, newest }
    }

    /// Whether no series is cut: without rules whole blocks go.
    pub(crate) fn is_all(&self) -> bool {
        self.retention.rules.is_empty()
    }

    /// The first time at which a series' samples are kept.
    pub(crate) fn of(&self, labels: &Labels) -> i64 {
        let accepts = |rule: &&RetentionRule| rule.matchers.iter().all(|matcher| matcher.matches_labels(labels));
        let rule = self.retention.rules.iter().find(accepts).map(|rule| rule.time_ms);
        self.before(rule.or(self.retention.time_ms))
    }

    /// The first time kept under a retention of `time_ms`.
    pub(crate) fn before(&self, time_ms: Option<i64>) -> i64 {
        time_ms.map_or(i64::MIN, |time_ms| self.newest.saturating_sub(time_ms))
    }
}

/// The blocks that end `retention_ms` or more before the newest one.
pub(crate) fn beyond_time(metas: &[&BlockMeta], retention_ms: i64) -> Vec<usize> {
    let newest = metas.iter().map(|meta| meta.max_time).max().unwrap_or(i64::MIN);
    let is_old = |meta: &BlockMeta| meta.max_time < newest && newest.saturating_sub(meta.max_time) >= retention_ms;
    (0..metas.len()).filter(|at| is_old(metas[*at])).collect()
}

/// The oldest blocks that must go for `other_bytes` and the rest to fit `bytes_max`. The newest block may go too.
pub(crate) fn beyond_size(blocks: &[(&BlockMeta, u64)], other_bytes: u64, bytes_max: u64) -> Vec<usize> {
    let mut newest_first: Vec<usize> = (0..blocks.len()).collect();
    newest_first.sort_by_key(|at| std::cmp::Reverse(blocks[*at].0.max_time));
    let mut total = other_bytes;
    let kept = newest_first.iter().take_while(|at| {
        total = total.saturating_add(blocks[**at].1);
        total <= bytes_max
    });
    let kept = kept.count();
    newest_first.split_off(kept)
}

#[cfg(test)]
mod tests {
    use model::labels;

    use super::*;
    use crate::block::ulid::Ulid;

    fn meta(min: i64, max: i64) -> BlockMeta {
        BlockMeta::new(Ulid(0), min, max)
    }

    #[test]
    fn blocks_go_by_age_and_by_size_oldest_first() {
        let metas = [meta(0, 10), meta(10, 20), meta(20, 30)];
        let metas: Vec<_> = metas.iter().collect();
        assert_eq!(beyond_time(&metas, 10), [0, 1]);
        assert_eq!(beyond_time(&metas, 11), [0]);
        assert_eq!(beyond_time(&metas, 21), Vec::<usize>::new());
        assert_eq!(beyond_time(&metas[..1], 1), Vec::<usize>::new(), "time stands still without new blocks");
        let sized: Vec<_> = metas.iter().map(|meta| (*meta, 100)).collect();
        assert_eq!(beyond_size(&sized, 50, 350), Vec::<usize>::new());
        assert_eq!(beyond_size(&sized, 50, 349), [0]);
        assert_eq!(beyond_size(&sized, 50, 160), [1, 0]);
        assert_eq!(beyond_size(&sized, 500, 160), [2, 1, 0]);
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = vec![
            RetentionRule::new(vec![Matcher::equal("env", "dev")], 10),
            RetentionRule::new(vec![Matcher::equal("__name__", "slo")], 1000),
        ];
        let retention = Retention { time_ms: Some(100), rules, ..Retention::default() };
        let kept = KeptFrom::new(&retention, 5000);
        assert_eq!(kept.of(&labels! { "__name__" => "slo", "env" => "dev" }), 4990);
        assert_eq!(kept.of(&labels! { "__name__" => "slo" }), 4000);
        assert_eq!(kept.of(&labels! { "__name__" => "up" }), 4900);
        assert!(!kept.is_all() && KeptFrom::new(&Retention::default(), 0).is_all());
    }
}
