//! Queries over the head and the blocks: a series comes once, with the samples of all.
//!
//! What the head has handed to a block is hidden in it before readers see less of it: a reader takes the head's bound
//! first and the list of blocks after, so that nothing is in neither. What is in both is merged.

use std::sync::Arc;

use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Timestamp;
use model::storage::{Columns, Order, Querier, SelectHints, Series, SeriesSet, StorageError};
use roaring::RoaringBitmap;

use super::{HeadQuerier, merge};
use crate::block::Block;
use crate::block::reader::BlockSeriesIter;
use crate::db::blocks::Blocks;
use crate::head::Head;
use crate::head::reader::TimeRange;
use crate::texts;

/// Reads the head and the blocks under one snapshot.
pub(crate) struct DbQuerier {
    head: HeadQuerier,
    /// Those that meet the range, ordered by first time.
    blocks: Vec<Arc<Block>>,
    range: TimeRange,
}

impl DbQuerier {
    pub(crate) fn new(head: &Arc<Head>, blocks: &Blocks, min_time: Timestamp, max_time: Timestamp) -> Self {
        let range = TimeRange { min: min_time.0, max: max_time.0 };
        let head = HeadQuerier::new(head, min_time, max_time);
        let blocks = blocks.list().iter().filter(|block| block.meets(range)).cloned().collect();
        Self { head, blocks, range }
    }

    fn head_meets(&self, range: TimeRange) -> bool {
        self.head.first_time() <= range.max
    }
}

impl Querier for DbQuerier {
    fn select(
        &self,
        order: Order,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<Box<dyn SeriesSet + '_>, StorageError> {
        let mut range = self.range;
        if let Some((start, end)) = hints.range {
            range = TimeRange { min: range.min.max(start.0), max: range.max.min(end.0) };
        }
        let blocks: Vec<_> = self.blocks.iter().filter(|block| block.meets(range)).collect();
        if blocks.is_empty() {
            return self.head.select(order, hints, matchers);
        }
        let left = if hints.limit == 0 { usize::MAX } else { hints.limit };
        let head_meets = self.head_meets(range);
        if let ([block], false) = (&blocks[..], head_meets) {
            // Sorted as they are; their labels are only built if they are asked for.
            let iter = BlockSeriesIter::new(block, block.select(matchers)?, range);
            return Ok(Box::new(BlockSeriesSet { iter, left }));
        }
        let mut sources = Vec::with_capacity(blocks.len() + 1);
        for block in &blocks {
            let iter = BlockSeriesIter::new(block, block.select(matchers)?, range);
            sources.push(Source::begin(Box::new(BlockSeriesSet { iter, left: usize::MAX }))?);
        }
        let mut rest = None;
        if head_meets {
            match order {
                Order::ByLabels => {
                    let hints = SelectHints { limit: 0, ..hints.clone() };
                    sources.push(Source::begin(self.head.select(order, &hints, matchers)?)?);
                }
                // Series of the head are found by those of the blocks: sorting them would cost more.
                Order::Any => rest = Some(Rest::new(&self.head, matchers, range)),
            }
        }
        Ok(Box::new(JoinedSet { sources, rest, left }))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let head_meets = self.head_meets(self.range) && self.head.last_time() >= self.range.min;
        if self.blocks.is_empty() && head_meets {
            return self.head.label_names(matchers, limit);
        }
        let mut names = Vec::new();
        if head_meets {
            names = self.head.label_names(matchers, 0)?;
        }
        for block in &self.blocks {
            let own = block.label_names(matchers)?;
            texts::add(&mut names, own.iter().map(String::as_str));
        }
        Ok(first(names, limit))
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let head_meets = self.head_meets(self.range) && self.head.last_time() >= self.range.min;
        if self.blocks.is_empty() && head_meets {
            return self.head.label_values(name, matchers, limit);
        }
        let mut values = Vec::new();
        if head_meets {
            values = self.head.label_values(name, matchers, limit)?;
        }
        for block in &self.blocks {
            block.add_label_values(name, matchers, limit, &mut values)?;
        }
        Ok(first(values, limit))
    }
}

/// At most `limit` of them, if not 0.
fn first(mut texts: Vec<String>, limit: usize) -> Vec<String> {
    if limit > 0 {
        texts.truncate(limit);
    }
    texts
}

/// Series of one block, as the contract has them.
struct BlockSeriesSet {
    iter: BlockSeriesIter,
    left: usize,
}

impl SeriesSet for BlockSeriesSet {
    fn advance(&mut self) -> Result<Option<Box<dyn Series>>, StorageError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        Ok(self.iter.advance()?.map(|series| Box::new(series) as Box<dyn Series>))
    }
}

type Labelled = (Labels, Box<dyn Series>);

/// A sorted stream of series, and the one it has reached.
struct Source<'a> {
    set: Box<dyn SeriesSet + 'a>,
    reached: Option<Labelled>,
}

impl<'a> Source<'a> {
    fn begin(set: Box<dyn SeriesSet + 'a>) -> Result<Self, StorageError> {
        let mut source = Self { set, reached: None };
        source.advance()?;
        Ok(source)
    }

    /// Hands over the series reached and goes on.
    fn advance(&mut self) -> Result<Option<Labelled>, StorageError> {
        let next = self.set.advance()?.map(|series| (series.labels(), series));
        Ok(std::mem::replace(&mut self.reached, next))
    }
}

/// The head's series that have not come yet.
struct Rest<'a> {
    head: &'a HeadQuerier,
    range: TimeRange,
    slots: RoaringBitmap,
    /// Labels that came while the head had their series anew in a slot that was not selected.
    renewed: Vec<Labels>,
}

impl<'a> Rest<'a> {
    fn new(head: &'a HeadQuerier, matchers: &[Matcher], range: TimeRange) -> Self {
        Self { head, range, slots: head.slots(matchers), renewed: Vec::new() }
    }

    /// The head's series with these labels; it does not come again.
    fn take(&mut self, labels: &Labels) -> Option<Box<dyn Series>> {
        let slot = self.head.slot_of(labels)?;
        if !self.slots.remove(slot) {
            self.renewed.push(labels.clone());
            return None;
        }
        self.head.series_at(slot, self.range, Some(labels.clone()))
    }

    fn next(&mut self) -> Option<Box<dyn Series>> {
        loop {
            let slot = self.slots.min()?;
            self.slots.remove(slot);
            if let Some(series) = self.head.series_at(slot, self.range, None)
                && (self.renewed.is_empty() || !self.renewed.contains(&series.labels()))
            {
                return Some(series);
            }
        }
    }
}

struct JoinedSet<'a> {
    sources: Vec<Source<'a>>,
    rest: Option<Rest<'a>>,
    left: usize,
}

impl SeriesSet for JoinedSet<'_> {
    fn advance(&mut self) -> Result<Option<Box<dyn Series>>, StorageError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let first = self.sources.iter().filter_map(|source| source.reached.as_ref().map(|(labels, _)| labels)).min();
        let Some(labels) = first.cloned() else {
            return Ok(self.rest.as_mut().and_then(Rest::next));
        };
        let mut parts = Vec::new();
        for source in &mut self.sources {
            if source.reached.as_ref().is_some_and(|(reached, _)| *reached == labels) {
                parts.extend(source.advance()?.map(|(_, series)| series));
            }
        }
        parts.extend(self.rest.as_mut().and_then(|rest| rest.take(&labels)));
        if parts.len() == 1 {
            return Ok(parts.pop());
        }
        Ok(Some(Box::new(JoinedSeries { labels, parts })))
    }
}

/// A series with samples in several places.
struct JoinedSeries {
    labels: Labels,
    /// Ordered by first time, the head last. Of two samples at one time, the first one's counts.
    parts: Vec<Box<dyn Series>>,
}

impl Series for JoinedSeries {
    fn labels(&self) -> Labels {
        self.labels.clone()
    }

    fn read(&self, columns: &mut Columns) -> Result<(), StorageError> {
        let from = columns.len();
        let mut apart = Columns::default();
        for part in &self.parts {
            if columns.len() == from {
                part.read(columns)?;
            } else {
                apart.clear();
                part.read(&mut apart)?;
                merge::into(columns, from, &apart);
            }
        }
        Ok(())
    }
}
