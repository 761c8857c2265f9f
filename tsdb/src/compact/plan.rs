//! Which blocks to compact next: pure rules over what the blocks are, the same as Prometheus'.

use crate::block::meta::BlockMeta;

/// Each level's blocks are so many times as wide as those of the level below.
const LEVEL_FACTOR: i64 = 3;
/// The widest block, unless the retention asks for narrower ones.
const RANGE_MAX_MS: i64 = 31 * 24 * 60 * 60 * 1000;
/// A block with more deleted ranges per series than this is rewritten.
const TOMBSTONES_RATIO: f64 = 0.05;
/// Levels there are at most.
const LEVELS_MAX: usize = 10;

/// Widths of blocks by level: three times wider each, up to 31 days or a tenth of the retention.
pub(crate) fn ranges(block_range_ms: i64, range_max_ms: Option<i64>, retention_ms: Option<i64>) -> Vec<i64> {
    let by_retention = retention_ms.map_or(RANGE_MAX_MS, |retention| RANGE_MAX_MS.min(retention / 10));
    let max = range_max_ms.unwrap_or(by_retention).max(block_range_ms);
    let widths = std::iter::successors(Some(block_range_ms), |width| width.checked_mul(LEVEL_FACTOR));
    widths.take_while(|width| *width <= max).take(LEVELS_MAX).collect()
}

/// The places in `metas`, which are ordered by their first times, of the blocks to compact into one; none if there is
/// nothing to do.
pub(crate) fn plan(metas: &[&BlockMeta], ranges: &[i64]) -> Vec<usize> {
    let overlapping = overlapping(metas);
    if !overlapping.is_empty() {
        return overlapping;
    }
    // The newest block waits: it may still be copied, and others of its width may follow.
    let Some((_, older)) = metas.split_last() else {
        return Vec::new();
    };
    let level = full_range(older, ranges);
    if level.is_empty() { with_tombstones(older, ranges) } else { level }
}

/// The first run of blocks that overlap.
fn overlapping(metas: &[&BlockMeta]) -> Vec<usize> {
    let mut run = Vec::new();
    let Some(first) = metas.first() else {
        return run;
    };
    let mut reached = first.max_time;
    for (at, meta) in metas.iter().enumerate().skip(1) {
        if meta.min_time < reached {
            if run.is_empty() {
                run.push(at - 1);
            }
            run.push(at);
        } else if !run.is_empty() {
            break;
        }
        reached = reached.max(meta.max_time);
    }
    // One that cannot be read is not tried again.
    if run.iter().any(|at| metas[*at].compaction.failed) { Vec::new() } else { run }
}

/// The first blocks that fill the range of a level, or that lie before the newest block in one.
fn full_range(metas: &[&BlockMeta], ranges: &[i64]) -> Vec<usize> {
    let Some(newest) = metas.last() else {
        return Vec::new();
    };
    for &width in ranges.iter().skip(1) {
        for part in split_by_range(metas, width) {
            if part.iter().any(|at| metas[*at].compaction.failed) {
                continue;
            }
            let (min_time, max_time) = (metas[part[0]].min_time, metas[part[part.len() - 1]].max_time);
            let is_due = max_time.saturating_sub(min_time) == width || max_time <= newest.min_time;
            if is_due && part.len() > 1 {
                return part;
            }
        }
    }
    Vec::new()
}

/// Groups blocks by the multiple of `width` they lie in; those that lie in none alone are left out.
fn split_by_range(metas: &[&BlockMeta], width: i64) -> Vec<Vec<usize>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < metas.len() {
        let start = metas[at].min_time.div_euclid(width).saturating_mul(width);
        let end = start.saturating_add(width);
        let from = at;
        while at < metas.len() && metas[at].max_time <= end {
            at += 1;
        }
        if at > from {
            parts.push((from..at).collect());
        } else {
            at += 1;
        }
    }
    parts
}

/// The newest block of some width of which much is deleted.
fn with_tombstones(metas: &[&BlockMeta], ranges: &[i64]) -> Vec<usize> {
    let middle = ranges.get(ranges.len() / 2).copied().unwrap_or(0);
    for (at, meta) in metas.iter().enumerate().rev() {
        if meta.compaction.failed {
            continue;
        }
        let (stones, series) = (meta.stats.num_tombstones, meta.stats.num_series);
        if meta.max_time.saturating_sub(meta.min_time) < middle {
            // Small blocks are compacted soon anyway, unless nothing is left in them.
            if stones > 0 && stones >= series {
                return vec![at];
            }
            break;
        }
        if stones as f64 / (series + 1) as f64 > TOMBSTONES_RATIO {
            return vec![at];
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::ulid::Ulid;

    const HOUR: i64 = 3_600_000;

    fn blocks(ranges: &[(i64, i64)]) -> Vec<BlockMeta> {
        let meta = |(at, (min, max)): (usize, &(i64, i64))| BlockMeta::new(Ulid(at as u128), *min, *max);
        ranges.iter().enumerate().map(meta).collect()
    }

    fn check(ranges: &[(i64, i64)], expected: &[usize]) {
        let metas = blocks(ranges);
        let metas: Vec<_> = metas.iter().collect();
        assert_eq!(plan(&metas, &[20, 60, 180, 540]), expected, "{ranges:?}");
    }

    #[test]
    fn levels_are_filled_the_newest_block_waits_and_overlaps_come_first() {
        check(&[], &[]);
        check(&[(0, 20)], &[]);
        check(&[(0, 20), (20, 40), (40, 60)], &[]);
        check(&[(0, 20), (20, 40), (40, 60), (60, 80)], &[0, 1, 2]);
        check(&[(0, 20), (20, 40), (60, 80), (80, 100)], &[0, 1]);
        check(&[(0, 20), (40, 60), (60, 80)], &[0, 1]);
        check(&[(0, 60), (60, 120), (120, 180), (180, 200)], &[0, 1, 2]);
        check(&[(0, 60), (60, 120), (120, 140), (140, 160), (160, 180), (180, 200)], &[2, 3, 4]);
        check(&[(-60, -40), (-40, -20), (-20, 0), (0, 20), (20, 40)], &[0, 1, 2]);
        check(&[(0, 20), (10, 40), (40, 60)], &[0, 1]);
        check(&[(0, 20), (20, 60), (30, 50), (55, 80), (80, 100)], &[1, 2, 3]);
        // One that is wider than the level's range lies in none.
        check(&[(0, 100), (100, 120), (120, 140)], &[]);
    }

    #[test]
    fn failed_blocks_are_left_alone_and_tombstoned_ones_rewritten() {
        let mut metas = blocks(&[(0, 20), (20, 40), (40, 60), (60, 80)]);
        metas[1].compaction.failed = true;
        assert_eq!(plan(&metas.iter().collect::<Vec<_>>(), &[20, 60]), Vec::<usize>::new());
        let mut metas = blocks(&[(0, 540), (540, 1080), (1080, 1100)]);
        (metas[0].stats.num_series, metas[0].stats.num_tombstones) = (10, 3);
        assert_eq!(plan(&metas.iter().collect::<Vec<_>>(), &[20, 60, 180, 540]), [0]);
        metas[0].stats.num_tombstones = 0;
        assert_eq!(plan(&metas.iter().collect::<Vec<_>>(), &[20, 60, 180, 540]), Vec::<usize>::new());
        let mut metas = blocks(&[(0, 20), (20, 40)]);
        (metas[0].stats.num_series, metas[0].stats.num_tombstones) = (1, 1);
        assert_eq!(plan(&metas.iter().collect::<Vec<_>>(), &[20, 60, 180, 540]), [0]);
    }

    #[test]
    fn widths_grow_threefold_up_to_a_tenth_of_the_retention() {
        assert_eq!(ranges(2 * HOUR, None, Some(15 * 24 * HOUR)), [2 * HOUR, 6 * HOUR, 18 * HOUR]);
        assert_eq!(ranges(2 * HOUR, None, None).last(), Some(&(486 * HOUR)));
        assert_eq!(ranges(2 * HOUR, None, Some(HOUR)), [2 * HOUR]);
        assert_eq!(ranges(2 * HOUR, Some(2 * HOUR), None), [2 * HOUR]);
    }
}
