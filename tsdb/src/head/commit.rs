//! Committing a batch: into the logs first, into the series after.

use model::storage::StorageError;

use super::Head;
use super::appender::{Buffers, Staged};
use super::series::Appended;
use super::slab::{PageGuard, Slot, page_of};
use crate::wal::Wal;
use crate::wal::record::{SampleValue, encode_exemplars, encode_mapped_markers, encode_metadata, encode_samples};

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Committed {
    /// Samples taken.
    pub(super) count: usize,
    /// Samples refused because a later one came in between.
    pub(super) late: u64,
}

/// Samples entered under one hold of a page's lock, so that readers of the page do not wait for a whole batch.
const RUN_SAMPLES_MAX: u32 = 128;

/// A page of the slab whose lock is held for a run of samples.
struct LockedPage<'a> {
    number: usize,
    guard: PageGuard<'a>,
    /// Samples that may still be entered.
    left: u32,
}

impl<'a> LockedPage<'a> {
    fn of(head: &'a Head, slot: Slot) -> Option<Self> {
        let number = page_of(slot);
        Some(Self { number, guard: head.slab.page(number)?.lock(), left: RUN_SAMPLES_MAX })
    }
}

/// Samples that entered their series.
#[derive(Debug)]
struct Tally {
    min_time: i64,
    max_time: i64,
    floats: u64,
    histograms: u64,
    chunks: i64,
    refused: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let (min_time, max_time) = (i64::MAX, i64::MIN);
        Self { min_time, max_time, floats: 0, histograms: 0, chunks: 0, refused: 0 }
    }
}

impl Tally {
    #[inline]
    fn took(&mut self, time: i64, is_float: bool) {
        (self.min_time, self.max_time) = (self.min_time.min(time), self.max_time.max(time));
        self.floats += u64::from(is_float);
        self.histograms += u64::from(!is_float);
    }
}

/// Logs the batch and lets it into its series, all under one commit.
///
/// # Errors
/// If a log cannot be written; nothing becomes visible then.
pub(super) fn commit(
    head: &Head,
    wal: &Wal,
    wbl: Option<&Wal>,
    buffers: &mut Buffers,
) -> Result<Committed, StorageError> {
    let _gate = head.enter_gate();
    log(wal, buffers)?;
    let _late_commit = match wbl {
        Some(wbl) if !buffers.late.is_empty() => {
            let guard = head.work.late_commit.lock();
            log_late(head, wbl, buffers)?;
            Some(guard)
        }
        _ => None,
    };
    let commit = head.isolation.begin_commit();
    for (id, _) in buffers.unlogged.drain(..) {
        if let Some(cell) = head.slab.cell(id.slot) {
            cell.lock().is_logged = true;
        }
    }
    let tally = apply(head, buffers, commit);
    let late = apply_late(head, buffers, commit);
    apply_notes(head, buffers);
    head.isolation.end_commit(commit);
    let instruments = &head.instruments.head;
    instruments.float_samples.add(tally.floats + late.floats);
    instruments.histogram_samples.add(tally.histograms + late.histograms);
    instruments.out_of_order_appended.add(late.floats + late.histograms);
    instruments.duplicate_samples.add(late.refused);
    instruments.chunks_created.add((tally.chunks + late.chunks) as u64);
    instruments.chunks.add(tally.chunks + late.chunks);
    instruments.last_commit.set(commit as i64);
    if !buffers.cut.is_empty() {
        head.note_full(buffers.cut.drain(..));
        // What cannot be mapped stays on the heap and is tried again; the samples are safe either way.
        let _retried_later = head.map_full_chunks();
    }
    let count = tally.floats + tally.histograms + late.floats + late.histograms;
    Ok(Committed { count: count as usize, late: tally.refused })
}

/// Writes the batch's records to the log.
fn log(wal: &Wal, buffers: &mut Buffers) -> Result<(), StorageError> {
    let Buffers {
        staged, floats, unlogged, series_record, encoded, ends, batch, exemplars, metadata, grouping, ..
    } = buffers;
    let compression = wal.compression();
    batch.clear();
    series_record.clear();
    for (id, labels) in &*unlogged {
        series_record.push(id.wal_ref, labels);
    }
    if !series_record.bytes().is_empty() {
        batch.push(compression, series_record.bytes());
    }
    encoded.clear();
    ends.clear();
    if floats.count() == staged.len() {
        // Nothing but floats without starts, encoded as they came.
        if !staged.is_empty() {
            batch.push(compression, floats.bytes());
        }
    } else {
        encode_samples(*grouping, staged.iter().map(|s| (s.series.wal_ref, s.stamp, &s.value)), encoded, ends);
    }
    if !metadata.is_empty() {
        encode_metadata(metadata.iter().map(|(id, metadata)| (id.wal_ref, metadata)), encoded);
        ends.push(encoded.len());
    }
    if !exemplars.is_empty() {
        encode_exemplars(exemplars.iter().map(|(id, exemplar)| (id.wal_ref, exemplar)), encoded);
        ends.push(encoded.len());
    }
    let mut start = 0;
    for &end in &*ends {
        batch.push(compression, &encoded[start..end]);
        start = end;
    }
    if batch.is_empty() { Ok(()) } else { wal.append(batch) }
}

/// Writes the late samples to the write-behind log, behind markers for those before them that are in mapped chunks now.
fn log_late(head: &Head, wbl: &Wal, buffers: &mut Buffers) -> Result<(), StorageError> {
    let Buffers { late, encoded, ends, batch, grouping, .. } = buffers;
    let coming: Vec<_> = late.iter().map(|staged| staged.series).collect();
    let markers = head.cut_late(&coming);
    batch.clear();
    encoded.clear();
    ends.clear();
    if !markers.is_empty() {
        encode_mapped_markers(&markers, encoded);
        ends.push(encoded.len());
    }
    encode_samples(*grouping, late.iter().map(|s| (s.series.wal_ref, s.stamp, &s.value)), encoded, ends);
    let mut start = 0;
    for &end in &*ends {
        batch.push(wbl.compression(), &encoded[start..end]);
        start = end;
    }
    wbl.append(batch)
}

/// Lets the batch's samples into their series.
fn apply(head: &Head, buffers: &mut Buffers, commit: u64) -> Tally {
    let low = head.isolation.low();
    let mut tally = Tally::default();
    let mut locked: Option<LockedPage<'_>> = None;
    for Staged { series: id, stamp, value } in buffers.staged.drain(..) {
        let page = match &mut locked {
            Some(page) if page.number == page_of(id.slot) && page.left > 0 => page,
            _ => {
                // Let go of before the next one is waited for.
                drop(locked.take());
                let Some(page) = LockedPage::of(head, id.slot) else {
                    continue;
                };
                locked.insert(page)
            }
        };
        page.left -= 1;
        let series = page.guard.series_mut(id.slot);
        series.pending -= 1;
        if let SampleValue::Float(float) = value
            && stamp.start == 0
            && series.append_to_open(stamp.time, float, head.limits.chunks)
        {
            series.marks.note(commit, low);
            tally.took(stamp.time, true);
            continue;
        }
        let is_first = series.open.is_none();
        match series.append(stamp, value.as_ref(), head.limits.chunks) {
            Appended::OutOfOrder => {
                tally.refused += 1;
                continue;
            }
            Appended::TakenAndCut => {
                buffers.cut.push(id.slot);
                tally.chunks += 1;
            }
            Appended::Taken => tally.chunks += i64::from(is_first),
        }
        series.marks.note(commit, low);
        tally.took(stamp.time, matches!(value, SampleValue::Float(_)));
    }
    drop(locked);
    if tally.min_time <= tally.max_time {
        head.times.extend(tally.min_time, tally.max_time);
    }
    tally
}

/// Lets the batch's out-of-order samples into their series.
fn apply_late(head: &Head, buffers: &mut Buffers, commit: u64) -> Tally {
    let mut tally = Tally::default();
    for Staged { series: id, stamp, value } in buffers.late.drain(..) {
        let Some(cell) = head.slab.cell(id.slot) else {
            continue;
        };
        let is_float = matches!(value, SampleValue::Float(_));
        let mut series = cell.lock();
        series.pending -= 1;
        let late = series.late.get_or_insert_default();
        let is_first = late.open_count() == 0;
        if late.insert(stamp, value, commit) {
            tally.chunks += i64::from(is_first);
            tally.took(stamp.time, is_float);
        } else {
            tally.refused += 1;
        }
    }
    if tally.min_time <= tally.max_time {
        head.times.extend_late(tally.min_time, tally.max_time);
    }
    tally
}

/// Enters metadata and exemplars.
fn apply_notes(head: &Head, buffers: &mut Buffers) {
    if !buffers.metadata.is_empty() {
        let mut all = head.metadata.write();
        buffers.metadata.drain(..).for_each(|(id, metadata)| all.set(id.slot, &metadata));
    }
    if !buffers.exemplars.is_empty() {
        let entered = buffers.exemplars.drain(..).map(|(id, exemplar)| (head.labels_at(id.slot), exemplar));
        head.exemplars.enter(entered, head.late_window_ms());
    }
}
