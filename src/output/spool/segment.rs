//! One file of the spool: a head, then frames of compressed lines, each with a checksum.
//!
//! ```text
//! head   "IMDSSPOL" · version u32
//! frame  length u32 · crc32 u32 · count u32 · body: `length` bytes, NDJSON compressed with zstd
//! ```
//!
//! All numbers are little-endian; the checksum covers count and body. Whatever a crash, a full disk or a bad sector did to
//! a file, reading it gives whole frames up to the first that is not, and says that one was not. Bounds: [`MOST_FRAME`] for
//! a body, [`MOST_LINES`] for what it expands to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"IMDSSPOL";
const VERSION: u32 = 1;

/// Bytes before the first frame.
pub(super) const HEAD: u64 = 12;
const FRAME_HEAD: usize = 12;

/// Longest body that is believed.
const MOST_FRAME: usize = 32 << 20;

/// Longest lines of one frame that are believed.
const MOST_LINES: usize = 64 << 20;

/// Fast, and a fifth of the bytes.
const LEVEL: i32 = 1;

/// A frame as it stands in the file.
pub(super) fn frame(lines: &[u8], count: u32) -> io::Result<Vec<u8>> {
    let body = zstd::bulk::compress(lines, LEVEL)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(FRAME_HEAD + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&checksum(count, &body).to_le_bytes());
    frame.extend_from_slice(&count.to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

fn checksum(count: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&count.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// A segment that is being written.
pub(super) struct SegmentWriter {
    file: File,
    length: u64,
    is_synced: bool,
    /// Ends with a torn frame: nothing can be added.
    is_torn: bool,
}

impl SegmentWriter {
    /// Makes a file that does not exist yet.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        let head = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        if let Err(error) = file.write_all(&head) {
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(Self { file, length: HEAD, is_synced: false, is_torn: false })
    }

    /// Adds a frame. When it fails, the file is as it was before, or [`Self::is_torn`].
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.is_synced = false;
        let outcome = self.file.write_all(frame);
        match outcome {
            Ok(()) => self.length += frame.len() as u64,
            Err(_) => {
                // A torn frame would hide what is written after it.
                let cut = self.file.set_len(self.length);
                self.is_torn = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.length))).is_err();
            }
        }
        outcome
    }

    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.is_synced {
            self.file.sync_data()?;
            self.is_synced = true;
        }
        Ok(())
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// What was read.
pub(super) enum Found {
    /// A frame.
    Frame {
        /// Its lines.
        lines: Vec<u8>,
        /// How many events it holds.
        count: u32,
    },
    /// Nothing more stands here.
    End,
    /// What stands here is no whole frame.
    Damaged,
}

/// A segment that is being read.
pub(super) struct SegmentReader {
    file: io::BufReader<File>,
}

impl SegmentReader {
    /// Opens a segment and goes behind its first `skip` frames; `None` where it is none, or has not so many.
    pub(super) fn open(path: &PathBuf, skip: u64) -> io::Result<Option<Self>> {
        let mut file = io::BufReader::new(File::open(path)?);
        let mut head = [0; HEAD as usize];
        if file.read_exact(&mut head).is_err() || head[..8] != MAGIC[..] || head[8..] != VERSION.to_le_bytes() {
            return Ok(None);
        }
        let mut reader = Self { file };
        for _ in 0..skip {
            if reader.skip()?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(reader))
    }

    /// Goes behind the next frame without looking at its body; returns how many events it says to hold.
    pub(super) fn skip(&mut self) -> io::Result<Option<u32>> {
        let Some(FrameHead { length, count, .. }) = self.head()? else { return Ok(None) };
        self.file.seek_relative(length as i64)?;
        // A count that a bad sector made larger than the body can hold is not believed.
        Ok(Some(count.min(u32::try_from(length).unwrap_or(u32::MAX))))
    }

    fn head(&mut self) -> io::Result<Option<FrameHead>> {
        let mut head = [0; FRAME_HEAD];
        let got = read_up_to(&mut self.file, &mut head)?;
        let (words, _) = head.as_chunks::<4>();
        let [length, checksum, count] = words else { return Ok(None) };
        let [length, checksum, count] = [length, checksum, count].map(|word| u32::from_le_bytes(*word));
        let is_whole = got == FRAME_HEAD && length as usize <= MOST_FRAME;
        Ok(is_whole.then_some(FrameHead { length: length as usize, checksum, count }))
    }

    /// Reads the next frame.
    pub(super) fn next(&mut self) -> io::Result<Found> {
        if io::BufRead::fill_buf(&mut self.file)?.is_empty() {
            return Ok(Found::End);
        }
        let Some(FrameHead { length, checksum: expected, count }) = self.head()? else { return Ok(Found::Damaged) };
        let mut body = Vec::new();
        (&mut self.file).take(length as u64).read_to_end(&mut body)?;
        if body.len() != length || checksum(count, &body) != expected {
            return Ok(Found::Damaged);
        }
        match zstd::bulk::decompress(&body, expanded(&body)) {
            Ok(lines) => Ok(Found::Frame { lines, count }),
            Err(_) => Ok(Found::Damaged),
        }
    }
}

/// How long the lines of a body are, as it says, within bounds.
fn expanded(body: &[u8]) -> usize {
    let said = zstd::zstd_safe::get_frame_content_size(body).ok().flatten();
    said.and_then(|said| usize::try_from(said).ok()).unwrap_or(MOST_LINES).min(MOST_LINES)
}

struct FrameHead {
    length: usize,
    checksum: u32,
    count: u32,
}

fn read_up_to(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Events that a segment says to hold behind its first `skip` frames.
pub(super) fn count_events(path: &PathBuf, skip: u64) -> u64 {
    let Ok(Some(mut reader)) = SegmentReader::open(path, skip) else { return 0 };
    let mut sum = 0;
    while let Ok(Some(count)) = reader.skip() {
        sum += u64::from(count);
    }
    sum
}
