//! One capture file, from its first byte to its last.
//!
//! In: an [`Input`]. Out: batches of packets; what is wrong with the file as warnings (reading went on) or as an error
//! (it did not). Everything that stands before damage is always given first. Memory: one buffer, see
//! [`super::buffer`].

use std::io::{self, Read};

use super::buffer::{Buffer, Source};
use super::format::{Format, LOOKAHEAD, Start, Stop};
use super::report::{Report, Warning};
use super::{CaptureError, Input};
use crate::packet::PacketBatch;

/// Whether an input has more to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Call again; the batch may be short, or even empty, where the input is a pipe.
    More,
    /// Nothing follows the packets of this batch.
    End,
}

/// A capture file that is being read.
pub struct FileSource {
    buffer: Buffer,
    format: Format,
    report: Report,
    /// What ended the file early, kept while the packets before it are handed out.
    failure: Option<CaptureError>,
    ended: bool,
    /// Bytes of the file that earlier batches took.
    accounted: u64,
}

impl FileSource {
    /// Opens `input` and reads its first bytes; on a FIFO or pipe this waits for them.
    ///
    /// # Errors
    /// [`CaptureError::Open`], [`CaptureError::NotACapture`], or what is wrong with its first bytes.
    pub fn open(input: &Input) -> Result<Self, CaptureError> {
        let source = Source::open(input).map_err(|cause| CaptureError::Open { input: input.clone(), cause })?;
        Self::start(input, source)
    }

    /// Reads from `from`, which messages call `input`. Without a `size` it is treated as a pipe: packets are handed on
    /// before bytes are waited for.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_reader(input: &Input, from: Box<dyn Read + Send>, size: Option<u64>) -> Result<Self, CaptureError> {
        Self::start(input, Source::new(from, size))
    }

    fn start(input: &Input, source: Source) -> Result<Self, CaptureError> {
        let mut buffer = Buffer::open(source).map_err(|cause| CaptureError::Open { input: input.clone(), cause })?;
        let mut report = Report::new(input.clone());
        buffer.fill(Format::HEADER).map_err(|error| read_error(&buffer, &report, error))?;
        let (format, length) = match Format::detect(buffer.bytes(), &mut report) {
            Start::Capture(format, length) => (format, length),
            Start::CutOff => {
                let (offset, reason) = (buffer.bytes().len() as u64, "the file header is cut off".into());
                return Err(CaptureError::Damaged { input: input.clone(), offset, reason });
            }
            Start::Other(reason) => return Err(CaptureError::NotACapture { input: input.clone(), reason }),
        };
        buffer.consume(length);
        Ok(Self { buffer, format, report, failure: None, ended: false, accounted: 0 })
    }

    /// Appends packets to `batch` until it is full, the file ends, or, on a pipe, no more are there yet.
    ///
    /// # Errors
    /// When the rest cannot be read. The batch of such a call is empty: packets before the damage were given by earlier
    /// calls. After it comes only [`Status::End`].
    pub fn next_batch(&mut self, batch: &mut PacketBatch) -> Result<Status, CaptureError> {
        // A buffer of unusual size would be copied from batch to batch.
        if self.format.has_places() && self.buffer.is_usual() {
            batch.open_window()
        } else {
            batch.copy()
        }
        let result = self.read_batch(batch);
        self.buffer.hand_over(batch);
        let taken = self.buffer.file_bytes_read();
        batch.set_bytes_read(taken.saturating_sub(self.accounted));
        self.accounted = taken;
        match result {
            Ok(status) => Ok(status),
            Err(error) => {
                self.ended = true;
                self.report.finish(self.buffer.offset());
                if batch.is_empty() {
                    return Err(error);
                }
                self.failure = Some(error);
                Ok(Status::More)
            }
        }
    }

    /// Size of the file as it lies on disk, in bytes; `None` for pipes and standard input.
    pub fn size(&self) -> Option<u64> {
        self.buffer.file_size()
    }

    /// Bytes of the file, as it lies on disk, that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.buffer.file_bytes_read()
    }

    /// What was wrong since the last call, at most a few per file.
    pub fn warnings(&mut self) -> Vec<Warning> {
        self.report.drain()
    }

    fn read_batch(&mut self, batch: &mut PacketBatch) -> Result<Status, CaptureError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        while !self.ended {
            let (used, stop) = self.format.fill(self.buffer.piece(), batch, &mut self.report);
            self.buffer.consume(used);
            let stays = matches!(stop, Stop::Need(count) if self.buffer.has_room(count) || self.buffer.ended());
            match stop {
                Stop::Full => return Ok(Status::More),
                // What is in the buffer must stay where it is as long as packets of the batch stand there.
                _ if !stays && batch.window().is_some() => return Ok(Status::More),
                Stop::Need(_) if self.buffer.ended() && self.buffer.bytes().is_empty() => {
                    self.ended = true;
                    self.report.finish(self.buffer.offset());
                }
                Stop::Need(_) if self.buffer.ended() => self.skip_damage("the file ends inside a record")?,
                // On a pipe the next bytes may be long in coming: what is there is handed on first.
                Stop::Need(_) if self.size().is_none() && !batch.is_empty() => return Ok(Status::More),
                // At least one byte more, so that every turn makes headway.
                Stop::Need(count) => self.read(count.max(self.buffer.bytes().len().saturating_add(1)))?,
                Stop::Bad(reason) => self.skip_damage(&reason)?,
            }
        }
        Ok(Status::End)
    }

    fn read(&mut self, wanted: usize) -> Result<(), CaptureError> {
        self.buffer.fill(wanted).map_err(|error| read_error(&self.buffer, &self.report, error))
    }

    /// Moves on from a place that is no record to where records go on, or fails with `reason`.
    fn skip_damage(&mut self, reason: &str) -> Result<(), CaptureError> {
        let offset = self.buffer.offset();
        if !self.buffer.ended() {
            self.buffer.reserve(4 * LOOKAHEAD);
        }
        self.buffer.consume(1);
        loop {
            self.read(LOOKAHEAD + 1)?;
            if let Some(at) = self.format.resume(self.buffer.piece()) {
                self.buffer.consume(at);
                let skipped = self.buffer.offset().saturating_sub(offset);
                self.report.damage(offset, || format!("{reason}; {skipped} bytes were skipped"));
                return Ok(());
            }
            if self.buffer.ended() {
                let input = self.report.input().clone();
                return Err(CaptureError::Damaged { input, offset, reason: reason.to_owned() });
            }
            self.buffer.consume(self.buffer.bytes().len().saturating_sub(LOOKAHEAD));
        }
    }
}

/// A failure of the system to read, or of the decompressor to make sense of what was read.
fn read_error(buffer: &Buffer, report: &Report, error: io::Error) -> CaptureError {
    let input = report.input().clone();
    let offset = buffer.offset().saturating_add(buffer.bytes().len() as u64);
    match buffer.compression() {
        Some(name) if error.raw_os_error().is_none() => {
            let reason = match error.kind() {
                io::ErrorKind::UnexpectedEof => format!("the {name} data ends too early"),
                _ => format!("the {name} data is damaged ({error})"),
            };
            CaptureError::Damaged { input, offset, reason }
        }
        _ => CaptureError::Read { input, offset, cause: error },
    }
}
