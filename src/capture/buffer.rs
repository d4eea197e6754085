//! The bytes of one input, decompressed, in one reused buffer.
//!
//! In: a file or standard input, plain or gzip, zstd or lz4 (told by its first bytes, never by its name). Out: a window
//! on the stream that can be made as long as a record needs. Bound: the buffer is [`READ`] bytes, or twice the longest
//! record asked for; zstd adds its window (at most 128 MiB).

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;

use super::Input;
use super::format::Window;
use crate::packet::PacketBatch;

/// Size of one read: large enough that system calls do not count, small enough to stay in the processor's cache.
const READ: usize = 256 * 1024;

/// A window on the stream: what was read and not consumed yet.
pub(super) struct Buffer {
    stream: Stream,
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the stream before `start`.
    consumed: u64,
    /// Whether the stream ended.
    ended: bool,
}

impl Buffer {
    /// Finds out how what `source` gives is compressed. Blocks on a FIFO or pipe until its first bytes are there.
    pub(super) fn open(source: Source) -> io::Result<Self> {
        Ok(Self { stream: Stream::open(source)?, data: vec![0; READ], start: 0, end: 0, consumed: 0, ended: false })
    }

    /// What was read and not consumed yet.
    pub(super) fn bytes(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or_default()
    }

    /// Place of `bytes()` in the uncompressed stream.
    pub(super) fn offset(&self) -> u64 {
        self.consumed
    }

    /// `bytes()`, their place, and whether the stream ends after them.
    pub(super) fn piece(&self) -> Window<'_> {
        Window { bytes: self.bytes(), at: self.start, offset: self.consumed, last: self.ended }
    }

    /// Whether nothing follows `bytes()`.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Moves past `count` bytes of `bytes()`.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.end.saturating_sub(self.start));
        self.start = self.start.saturating_add(count);
        self.consumed = self.consumed.saturating_add(count as u64);
    }

    /// Reads until `bytes()` holds at least `wanted` bytes or the stream ends, but for a plain file always as much as
    /// one read gives.
    ///
    /// # Errors
    /// Those of the system or of the decompressor; `bytes()` then holds everything before.
    pub(super) fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.end.saturating_sub(self.start) < wanted && !self.ended {
            self.make_room(wanted);
            let room = self.data.get_mut(self.end..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end = self.end.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves the window to the front, and makes the buffer larger when that is not enough. It grows no faster than data
    /// arrives, so a header that announces megabytes in a short file costs nothing.
    fn make_room(&mut self, wanted: usize) {
        if self.start > 0 && self.start.saturating_add(wanted) > self.data.len() {
            self.data.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
        }
        if self.end == self.data.len() {
            self.data.resize(self.data.len().saturating_mul(2), 0);
        }
    }

    /// Whether it has its usual size.
    pub(super) fn is_usual(&self) -> bool {
        self.data.len() <= READ
    }

    /// Whether [`Self::fill`] would leave what was read where it is.
    pub(super) fn has_room(&self, wanted: usize) -> bool {
        self.start.saturating_add(wanted) <= self.data.len() && self.end < self.data.len()
    }

    /// Gives the buffer to `batch`, if its packets stand in it, and goes on in the one that it gets for it.
    pub(super) fn hand_over(&mut self, batch: &mut PacketBatch) {
        let Some(next) = batch.window() else { return };
        let rest = self.data.get(self.start..self.end).unwrap_or_default();
        next.resize(next.len().max(rest.len()).max(READ), 0);
        if let Some(front) = next.get_mut(..rest.len()) {
            front.copy_from_slice(rest);
        }
        std::mem::swap(&mut self.data, next);
        (self.start, self.end) = (0, self.end.saturating_sub(self.start));
    }

    /// Keeps at least `bytes` of buffer from now on, so that windows that overlap are seldom moved.
    pub(super) fn reserve(&mut self, bytes: usize) {
        if self.data.len() < bytes {
            self.data.resize(bytes, 0);
        }
    }

    /// Bytes taken from the file, as it lies on disk.
    pub(super) fn file_bytes_read(&self) -> u64 {
        self.stream.source().read
    }

    /// Size of the file on disk; `None` for pipes.
    pub(super) fn file_size(&self) -> Option<u64> {
        self.stream.source().size
    }

    /// The compression's name, if there is one.
    pub(super) fn compression(&self) -> Option<&'static str> {
        self.stream.compression()
    }
}

/// Bytes as they lie on disk, counted.
pub(super) struct Source {
    from: Box<dyn Read + Send>,
    read: u64,
    size: Option<u64>,
}

impl Source {
    pub(super) fn open(input: &Input) -> io::Result<Self> {
        match input {
            Input::Path(path) => {
                let file = File::open(path)?;
                let meta = file.metadata()?;
                Ok(Self::new(Box::new(file), meta.is_file().then_some(meta.len())))
            }
            Input::Stdin => Ok(Self::new(Box::new(io::stdin()), None)),
        }
    }

    /// `size` is `None` where the next bytes may be long in coming.
    pub(super) fn new(from: Box<dyn Read + Send>, size: Option<u64>) -> Self {
        Self { from, read: 0, size }
    }
}

impl Read for Source {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.read = self.read.saturating_add(count as u64);
        Ok(count)
    }
}

/// The source with the bytes that were read to recognise it put back in front.
type Whole = io::Chain<Cursor<Vec<u8>>, Source>;

/// The uncompressed stream.
pub(super) enum Stream {
    Plain(Whole),
    Gzip(Box<MultiGzDecoder<BufReader<Whole>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Whole>>>),
    Lz4(Box<Lz4>),
}

impl Stream {
    const GZIP: &'static [u8] = &[0x1f, 0x8b];
    const ZSTD: &'static [u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    const LZ4: &'static [u8] = &[0x04, 0x22, 0x4d, 0x18];

    pub(super) fn open(mut source: Source) -> io::Result<Self> {
        let mut head = Vec::with_capacity(Self::ZSTD.len());
        source.by_ref().take(Self::ZSTD.len() as u64).read_to_end(&mut head)?;
        let is = |magic| head.starts_with(magic);
        let (gzip, zstd, lz4) = (is(Self::GZIP), is(Self::ZSTD), is(Self::LZ4));
        let whole = Cursor::new(head).chain(source);
        Ok(if gzip {
            Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ, whole))))
        } else if zstd {
            Self::Zstd(Box::new(zstd::Decoder::with_buffer(BufReader::with_capacity(READ, whole))?))
        } else if lz4 {
            Self::Lz4(Box::new(Lz4::new(whole)))
        } else {
            Self::Plain(whole)
        })
    }

    fn compression(&self) -> Option<&'static str> {
        match self {
            Self::Plain(_) => None,
            Self::Gzip(_) => Some("gzip"),
            Self::Zstd(_) => Some("zstd"),
            Self::Lz4(_) => Some("lz4"),
        }
    }

    fn source(&self) -> &Source {
        match self {
            Self::Plain(whole) => whole.get_ref().1,
            Self::Gzip(decoder) => decoder.get_ref().get_ref().get_ref().1,
            Self::Zstd(decoder) => decoder.get_ref().get_ref().get_ref().1,
            Self::Lz4(decoder) => decoder.frames.get_ref().from.get_ref().get_ref().1,
        }
    }
}

impl Stream {
    /// Bytes decompressed in one go. The gzip and zstd decoders lose what they made in the call in which they find
    /// damage, so this is the most that is lost before it.
    const STEP: usize = 8 * 1024;
}

impl Read for Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let to = match (&self, to) {
            (Self::Plain(_), to) => to,
            (_, to) => {
                let step = to.len().min(Self::STEP);
                to.get_mut(..step).unwrap_or_default()
            }
        };
        match self {
            Self::Plain(whole) => whole.read(to),
            Self::Gzip(decoder) => decoder.read(to),
            Self::Zstd(decoder) => decoder.read(to),
            Self::Lz4(decoder) => decoder.read(to),
        }
    }
}

/// lz4 frames one after the other. [`FrameDecoder`] returns 0 at the end of each frame, and also where the file ends
/// between two blocks of a frame: here the first goes on and the second is an error.
pub(super) struct Lz4 {
    frames: FrameDecoder<Watched>,
    /// Bytes taken when the last frame ended.
    boundary: u64,
}

impl Lz4 {
    fn new(whole: Whole) -> Self {
        let from = BufReader::with_capacity(READ, whole);
        Self { frames: FrameDecoder::new(Watched { from, taken: 0, ended: false }), boundary: 0 }
    }
}

impl Read for Lz4 {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.frames.read(to)?;
            let below = self.frames.get_ref();
            match (count, below.ended) {
                (0, false) => self.boundary = below.taken,
                (0, true) if below.taken > self.boundary => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => return Ok(count),
            }
        }
    }
}

/// A reader that remembers how far it came.
struct Watched {
    from: BufReader<Whole>,
    taken: u64,
    ended: bool,
}

impl Read for Watched {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.taken = self.taken.saturating_add(count as u64);
        self.ended |= count == 0 && !to.is_empty();
        Ok(count)
    }
}
