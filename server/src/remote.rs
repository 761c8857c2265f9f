//! Data on the move: Prometheus' remote write and remote read protocols, the messages they share, and the way of what
//! arrives into the storage.
//!
//! Messages: prometheus' `prompb/types.proto` and `prompb/remote.proto`, and `io/prometheus/write/v2/types.proto` of the
//! remote-write specifications 1.0 and 2.0.

pub mod decode;
pub mod histogram;
pub mod ingest;
pub mod messages;
pub mod read;
pub mod send;
pub mod wire;

/// The largest body of a request after decompression, as the specification of remote write has it.
pub const DECODED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Undoes snappy's block format.
///
/// # Errors
/// If the body is no such block, or would be longer than `max` bytes.
pub fn decompress(body: &[u8], max: usize) -> Result<Vec<u8>, String> {
    let size = snap::raw::decompress_len(body).map_err(|error| format!("snappy: {error}"))?;
    if size > max {
        return Err(format!("decoded size exceeds the {max} bytes limit"));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|error| format!("snappy: {error}"))
}
