//! What all histograms of a chunk share: zero threshold, schema, spans, custom bounds; it opens the bit stream.

use model::histogram::{BucketNumber, CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

use super::field::{read_varbit_int, read_varbit_uint, write_varbit_int, write_varbit_uint};
use crate::chunk::ChunkError;
use crate::chunk::bits::{BitReader, BitWriter};

/// The most buckets of one side of one histogram: what a schema of 8 can ever need over the range of a float.
const BUCKETS_MAX: usize = 1 << 20;
/// The most spans of one side, and the most custom bounds.
const LAYOUT_ITEMS_MAX: u64 = 1 << 20;
/// The zero threshold follows as eight bytes.
const THRESHOLD_FOLLOWS: u8 = 255;
/// Powers of two are written as their exponent plus this.
const THRESHOLD_BIAS: i32 = 243;
/// Custom bounds up to this many thousandths are written as whole thousandths.
const BOUND_THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// Whether two histograms have the same layout.
pub(super) fn same<B: BucketNumber>(a: &Histogram<B>, b: &Histogram<B>) -> bool {
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.custom_values == b.custom_values
}

pub(super) fn write<B: BucketNumber>(writer: &mut BitWriter, histogram: &Histogram<B>) {
    write_threshold(writer, histogram.zero_threshold);
    write_varbit_int(writer, i64::from(histogram.schema));
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        write_varbit_uint(writer, spans.len() as u64);
        for span in spans {
            write_varbit_uint(writer, u64::from(span.length));
            write_varbit_int(writer, i64::from(span.offset));
        }
    }
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        write_varbit_uint(writer, histogram.custom_values.len() as u64);
        for &bound in &histogram.custom_values {
            write_bound(writer, bound);
        }
    }
}

/// A histogram of the layout that follows, its numbers all zero.
pub(super) fn read<B: BucketNumber>(reader: &mut BitReader<'_>) -> Result<Histogram<B>, ChunkError> {
    let zero_threshold = read_threshold(reader)?;
    let schema = i32::try_from(read_varbit_int(reader)?).map_err(|_| ChunkError::Layout)?;
    let (positive_spans, positive) = read_spans(reader)?;
    let (negative_spans, negative) = read_spans(reader)?;
    let mut custom_values = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        for _ in 0..read_length(reader)? {
            custom_values.push(read_bound(reader)?);
        }
    }
    Ok(Histogram {
        schema,
        zero_threshold,
        positive_spans,
        negative_spans,
        positive: vec![B::default(); positive],
        negative: vec![B::default(); negative],
        custom_values,
        ..Histogram::default()
    })
}

fn read_length(reader: &mut BitReader<'_>) -> Result<u64, ChunkError> {
    let length = read_varbit_uint(reader)?;
    if length > LAYOUT_ITEMS_MAX { Err(ChunkError::Layout) } else { Ok(length) }
}

/// Spans and how many buckets they hold.
fn read_spans(reader: &mut BitReader<'_>) -> Result<(Vec<Span>, usize), ChunkError> {
    let mut spans = Vec::new();
    let mut buckets = 0usize;
    for _ in 0..read_length(reader)? {
        let length = u32::try_from(read_varbit_uint(reader)?).map_err(|_| ChunkError::Layout)?;
        let offset = i32::try_from(read_varbit_int(reader)?).map_err(|_| ChunkError::Layout)?;
        buckets = buckets.saturating_add(length as usize);
        spans.push(Span { offset, length });
    }
    if buckets > BUCKETS_MAX { Err(ChunkError::Layout) } else { Ok((spans, buckets)) }
}

/// One byte for zero and for powers of two that thresholds usually are, else nine.
fn write_threshold(writer: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    // The exponent that goes with a mantissa of one half.
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    let power_of_two = threshold > 0.0 && bits << 12 == 0;
    if threshold == 0.0 {
        writer.write(0, 8);
    } else if power_of_two && (-242..=11).contains(&exponent) {
        writer.write((exponent + THRESHOLD_BIAS) as u64, 8);
    } else {
        writer.write(u64::from(THRESHOLD_FOLLOWS), 8);
        writer.write(bits, 64);
    }
}

fn read_threshold(reader: &mut BitReader<'_>) -> Result<f64, ChunkError> {
    let byte = reader.read(8) as u8;
    let threshold = match byte {
        0 => 0.0,
        THRESHOLD_FOLLOWS => f64::from_bits(reader.read(64)),
        exponent => 2f64.powi(i32::from(exponent) - THRESHOLD_BIAS - 1),
    };
    reader.check()?;
    Ok(threshold)
}

/// Whole thousandths as their number plus one, anything else as a zero bit and eight bytes.
fn write_bound(writer: &mut BitWriter, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    if (0.0..=BOUND_THOUSANDTHS_MAX).contains(&(bound * 1000.0)) && thousandths / 1000.0 == bound {
        write_varbit_uint(writer, thousandths as u64 + 1);
    } else {
        writer.write_bit(false);
        writer.write(bound.to_bits(), 64);
    }
}

fn read_bound(reader: &mut BitReader<'_>) -> Result<f64, ChunkError> {
    let bound = match read_varbit_uint(reader)? {
        0 => f64::from_bits(reader.read(64)),
        thousandths => (thousandths - 1) as f64 / 1000.0,
    };
    reader.check()?;
    Ok(bound)
}
