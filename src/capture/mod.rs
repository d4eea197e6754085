//! Where packets come from: capture files (pcap, pcapng, snoop; plain or compressed) and, elsewhere, live interfaces.
//!
//! In: paths as typed. Out: [`PacketBatch`](crate::packet::PacketBatch)es, with everything that is wrong with an input
//! as a [`Warning`] or a [`CaptureError`]. Files are read without libpcap, because its files have one link type, one
//! interface, no compression, and end at the first bad record; libpcap compiles the BPF filters.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod bpf;
mod buffer;
mod file;
mod filter;
mod format;
mod input;
mod pcap;
mod pcapng;
mod report;
mod snoop;
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;

use std::fmt;
use std::io;

use crate::packet::LinkType;

pub use file::{FileSource, Status};
pub use filter::Filter;
pub use format::MAX_RECORD;
pub use input::{Input, Listed, expand};
pub use report::Warning;

/// The bytes of an input, decompressed if they are compressed.
///
/// # Errors
/// Those of the system.
pub fn plain(input: &Input) -> io::Result<Box<dyn io::Read + Send>> {
    Ok(Box::new(buffer::Stream::open(buffer::Source::open(input)?)?))
}

/// Why an input, or the rest of it, cannot be read, or why a filter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file or folder cannot be opened.
    #[error("{input}: cannot be opened: {cause}")]
    Open {
        /// Which input.
        input: Input,
        /// What the system says.
        cause: io::Error,
    },
    /// The system failed to read on.
    #[error("{input}: reading failed at byte {offset}: {cause}")]
    Read {
        /// Which input.
        input: Input,
        /// Where, in bytes of the uncompressed stream.
        offset: u64,
        /// What the system says.
        cause: io::Error,
    },
    /// It does not begin as a capture file does: in a folder such files are skipped.
    #[error("{input}: not a capture file: {reason}")]
    NotACapture {
        /// Which input.
        input: Input,
        /// What it is instead.
        reason: &'static str,
    },
    /// What follows cannot be read as packets; everything before it was.
    #[error("{input}: damaged at byte {offset}: {reason}")]
    Damaged {
        /// Which input.
        input: Input,
        /// Where, in bytes of the uncompressed stream.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A BPF expression that libpcap does not understand.
    #[error("filter \"{expression}\": {reason}")]
    Filter {
        /// The expression as typed.
        expression: String,
        /// libpcap's words.
        reason: String,
    },
    /// A BPF expression that has no meaning for the link type of a packet.
    #[error("filter \"{expression}\" cannot be used on packets of {}: {reason}", LinkName(*.link))]
    FilterLink {
        /// The expression as typed.
        expression: String,
        /// The link type; none of its packets match.
        link: LinkType,
        /// libpcap's words.
        reason: String,
    },
}

impl CaptureError {
    /// Whether the input is something else than a capture file, rather than a damaged or unreadable one.
    pub fn is_not_a_capture(&self) -> bool {
        matches!(self, Self::NotACapture { .. })
    }
}

/// A link type by number and, where libpcap knows it, by name.
struct LinkName(LinkType);

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link type {}", self.0.0)?;
        match ::pcap::Linktype(filter::dlt(self.0)).get_name() {
            Ok(name) => write!(f, " ({name})"),
            Err(_) => Ok(()),
        }
    }
}
