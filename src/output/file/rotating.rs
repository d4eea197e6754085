//! An output file: whole lines appended through a buffer, rotated by size or age, surviving a full disk.
//!
//! Only whole lines reach the file: the buffer is handed over at line ends, and after a write that the disk cut short
//! the file is cut back to its last whole line before writing goes on. Whoever writes never waits for more than one
//! write: a full file is only renamed, and a [`Keeper`] thread compresses it, numbers it, and syncs what was written.
//! What a crash left behind, a torn line or a file that was not compressed yet, is put in order by the next run. A file
//! that was deleted or replaced from outside is noticed within a second and made anew; what went with it is counted.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::keeper::{Job, Keeper, aside, set_aside};
use super::place::{self, Opened};
use super::{Count, Rotation, Tally};

/// An append-only file of lines.
pub struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    buffer: Vec<u8>,
    buffered: Count,
    tally: Tally,
    written: u64,
    opened: SystemTime,
    lost: u64,
    failing: bool,
    message: Option<String>,
    keeper: Keeper,
    /// What an earlier run has left to compress.
    left: Vec<PathBuf>,
    /// Number of the next file that is set aside.
    next: u64,
    synced: Instant,
    is_regular: bool,
    /// Events written since the file was last seen in its place.
    unchecked: Count,
    /// Until then a pipe may wait for its first reader.
    patience: Instant,
}

impl RotatingFile {
    /// Opens `path` for appending, and creates it with mode 0640 (less the umask) where it does not exist.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let opened = match place::append(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            opened => Some(opened?),
        };
        let left = set_aside(&path);
        let next = left.last().map_or(0, |(number, _)| number + 1);
        Ok(Self {
            keeper: Keeper::new(path.clone(), rotation.keep),
            left: left.into_iter().map(|(_, file)| file).collect(),
            next,
            synced: Instant::now(),
            message: opened.as_ref().and_then(|opened| torn(&path, opened.cut)),
            is_regular: opened.as_ref().is_some_and(|opened| opened.is_regular),
            unchecked: Count::default(),
            patience: Instant::now() + WAIT_FOR_READER,
            written: opened.as_ref().map_or(0, |opened| opened.length),
            path,
            rotation,
            file: opened.map(|opened| opened.file),
            buffer: Vec::with_capacity(BUFFER),
            buffered: Count::default(),
            tally: Tally::default(),
            opened: SystemTime::now(),
            lost: 0,
            failing: false,
        })
    }

    /// Adds whole lines. Never fails: what the disk does not take is counted in [`Self::lost`].
    pub fn write(&mut self, lines: &[u8], count: Count) {
        if self.buffer.len() + lines.len() > BUFFER {
            self.flush();
        }
        if lines.len() > BUFFER {
            self.put(lines, count);
        } else {
            self.buffer.extend_from_slice(lines);
            self.buffered.join(count);
        }
        if self.due() {
            self.flush();
            self.rotate();
        }
    }

    /// Bytes until a new file is due by size: whoever writes no more at a time has it begin with the next line.
    pub fn room(&self) -> u64 {
        self.rotation.size.map_or(u64::MAX, |limit| limit.saturating_sub(self.written + self.buffer.len() as u64))
    }

    fn due(&self) -> bool {
        self.room() == 0 || self.rotation.age.is_some_and(|age| self.opened.elapsed().is_ok_and(|old| old >= age))
    }

    /// Hands the buffered lines to the operating system.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let count = std::mem::take(&mut self.buffered);
        self.put(&buffer, count);
        buffer.clear();
        self.buffer = buffer; // with its memory
    }

    fn put(&mut self, lines: &[u8], count: Count) {
        while self.file.is_none() {
            self.reopen();
            if self.file.is_some() || Instant::now() >= self.patience {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let outcome = match &mut self.file {
            Some(file) => file.write_all(lines),
            None => Err(io::Error::other("it is not open")),
        };
        match outcome {
            Ok(()) => {
                self.written += lines.len() as u64;
                self.tally.bytes += lines.len() as u64;
                if self.is_regular { &mut self.unchecked } else { &mut self.tally.taken }.join(count);
                if std::mem::take(&mut self.failing) {
                    self.message =
                        Some(format!("output {}: writing again; {} events were lost", self.path.display(), self.lost));
                }
            }
            Err(error) => self.fail(&error, count),
        }
        if self.synced.elapsed() >= SYNC_AFTER {
            self.sync();
        }
    }

    /// Has what was written brought to the disk, so that not even a loss of power takes it.
    fn sync(&mut self) {
        self.synced = Instant::now();
        self.left.drain(..).for_each(|file| self.keeper.give(Job::Compress(file)));
        if let Some(Ok(file)) = self.file.as_ref().map(File::try_clone) {
            self.keeper.give(Job::Sync(file));
        }
    }

    fn fail(&mut self, error: &io::Error, count: Count) {
        self.lost += count.sum();
        self.tally.lost.join(count);
        if !self.failing {
            self.message =
                Some(format!("output {}: {error}; events are lost until it can be written again", self.path.display()));
        }
        self.failing = true;
        // A part of the lines may have been written: take the torn line out again.
        let is_cut = |file: &File| {
            let length = file.metadata()?.len();
            file.set_len(length.min(self.written))
        };
        if self.file.as_ref().is_some_and(|file| is_cut(file).is_err()) {
            self.file = None;
        }
    }

    /// Closes the file and opens its path again.
    pub fn reopen(&mut self) {
        self.file = None;
        match place::append(&self.path) {
            Ok(Opened { file, length, is_regular, cut }) => {
                self.file = Some(file);
                (self.written, self.is_regular) = (length, is_regular);
                self.opened = SystemTime::now();
                self.patience = Instant::now();
                self.message = self.message.take().or_else(|| torn(&self.path, cut));
            }
            Err(error) => {
                if !self.failing {
                    self.message = Some(format!("output {}: {error}", self.path.display()));
                }
                self.failing = true;
            }
        }
    }

    fn rotate(&mut self) {
        let aside = aside(&self.path, self.next);
        let moved = match self.rotation.keep {
            0 => std::fs::remove_file(&self.path),
            _ => std::fs::rename(&self.path, &aside),
        };
        if let Err(error) = moved {
            if error.kind() == io::ErrorKind::NotFound {
                return self.check_place();
            }
            self.message = Some(format!("output {}: cannot rotate: {error}", self.path.display()));
            self.opened = SystemTime::now();
            return;
        }
        self.tally.taken.join(std::mem::take(&mut self.unchecked));
        self.sync();
        if self.rotation.keep > 0 {
            self.next += 1;
            self.keeper.give(Job::Compress(aside));
        }
        self.reopen();
    }

    /// What became of what was written since the last call.
    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Looks whether the file is still in its place; makes it anew where it is not. What was written since the last look
    /// into a file that nobody can open any more is lost.
    pub fn check_place(&mut self) {
        let written = std::mem::take(&mut self.unchecked);
        let Some(file) = self.file.as_ref().filter(|_| self.is_regular) else {
            return self.tally.taken.join(written);
        };
        match place_of(file, &self.path) {
            Place::Same(length) => self.written = self.written.min(length),
            Place::Elsewhere => {
                self.message = Some(format!("output {}: the file was moved; it is made anew", self.path.display()));
                self.reopen();
            }
            Place::Deleted => {
                let lost = written.sum();
                self.lost += lost;
                self.tally.lost.join(written);
                self.reopen();
                let path = self.path.display();
                self.message =
                    Some(format!("output {path}: the file was deleted: {lost} events are lost; it is made anew"));
                return;
            }
        }
        self.tally.taken.join(written);
    }

    /// Lines lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What happened since the last call, if anything did.
    pub fn take_message(&mut self) -> Option<String> {
        self.message.take().or_else(|| self.keeper.message())
    }
}

impl Drop for RotatingFile {
    fn drop(&mut self) {
        self.flush();
        self.sync();
    }
}

/// What is to be said of a torn line.
fn torn(path: &Path, cut: u64) -> Option<String> {
    (cut > 0).then(|| format!("output {}: a torn last line of {cut} bytes was cut off", path.display()))
}

/// Where an open file is.
enum Place {
    /// Where it was, and so long.
    Same(u64),
    /// Under another name.
    Elsewhere,
    /// Nowhere.
    #[cfg_attr(not(unix), expect(dead_code, reason = "cannot be told from elsewhere"))]
    Deleted,
}

#[cfg(unix)]
fn place_of(file: &File, path: &Path) -> Place {
    use std::os::unix::fs::MetadataExt;
    let Ok(open) = file.metadata() else { return Place::Same(u64::MAX) };
    match path.metadata() {
        Ok(there) if (there.dev(), there.ino()) == (open.dev(), open.ino()) => Place::Same(there.len()),
        // A folder that cannot be looked into says nothing.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Place::Same(open.len()),
        _ if open.nlink() == 0 => Place::Deleted,
        _ => Place::Elsewhere,
    }
}

#[cfg(not(unix))]
fn place_of(file: &File, path: &Path) -> Place {
    match path.try_exists() {
        Ok(false) => Place::Elsewhere,
        _ => Place::Same(file.metadata().map_or(u64::MAX, |metadata| metadata.len())),
    }
}

/// A pipe's first reader may come so much later than we do.
const WAIT_FOR_READER: Duration = Duration::from_secs(5);

const BUFFER: usize = 64 * 1024;

/// Written lines are on the disk after so long.
const SYNC_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const ONE: Count = Count { alerts: 0, events: 1 };

    #[test]
    fn a_torn_last_line_is_cut_off_and_lines_follow_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        std::fs::write(&path, "{\"a\":1}\n{\"b\":").unwrap();
        let mut out = RotatingFile::open(path.clone(), Rotation::default()).unwrap();
        out.write(b"{\"c\":3}\n", ONE);
        drop(out);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"c\":3}\n");
    }

    #[test]
    fn a_file_that_is_deleted_or_moved_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let mut out = RotatingFile::open(path.clone(), Rotation::default()).unwrap();
        let put = |out: &mut RotatingFile, line: &[u8]| {
            out.write(line, ONE);
            out.flush();
        };
        put(&mut out, b"{\"n\":1}\n");
        out.check_place();
        put(&mut out, b"{\"n\":2}\n");
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        out.check_place();
        assert_eq!((out.lost(), out.tally.taken.events), (0, 2), "{:?}", out.take_message());
        put(&mut out, b"{\"n\":3}\n");
        out.check_place();
        std::fs::remove_file(&path).unwrap();
        put(&mut out, b"{\"n\":4}\n");
        out.check_place();
        assert!(out.take_message().unwrap().contains("1 events are lost"));
        put(&mut out, b"{\"n\":5}\n");
        out.check_place();
        assert_eq!((out.lost(), out.tally.taken.events, out.tally.lost.events), (1, 4, 1));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"n\":5}\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("moved")).unwrap(), "{\"n\":1}\n{\"n\":2}\n");
    }

    #[test]
    fn rotation_goes_on_after_the_file_was_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let rotation = Rotation { size: Some(20), age: None, keep: 100_000 };
        let mut out = RotatingFile::open(path.clone(), rotation).unwrap();
        out.write(b"{\"n\":1}\n", ONE);
        out.flush();
        std::fs::remove_file(&path).unwrap();
        for _ in 0..12 {
            out.write(b"{\"n\":2}\n", ONE);
        }
        drop(out);
        assert!(dir.path().join("events.ndjson.3.gz").exists());
    }

    #[test]
    fn rotation_by_size_keeps_so_many_compressed_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let rotation = Rotation { size: Some(20), age: None, keep: 2 };
        let mut out = RotatingFile::open(path.clone(), rotation).unwrap();
        for n in 0..10 {
            out.write(format!("{{\"n\":{n:02}}}\n").as_bytes(), ONE);
        }
        drop(out);
        let unpack = |n: usize| {
            let mut text = String::new();
            let file = File::open(dir.path().join(format!("events.ndjson.{n}.gz"))).unwrap();
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"n\":09}\n");
        assert_eq!(unpack(1), "{\"n\":06}\n{\"n\":07}\n{\"n\":08}\n");
        assert_eq!(unpack(2), "{\"n\":03}\n{\"n\":04}\n{\"n\":05}\n");
        assert!(!dir.path().join("events.ndjson.3.gz").exists());
    }

    #[test]
    fn what_a_crash_left_uncompressed_is_compressed_by_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        std::fs::write(dir.path().join("events.ndjson.3.full"), "{\"n\":3}\n").unwrap();
        std::fs::write(dir.path().join("events.ndjson.12.full"), "{\"n\":12}\n").unwrap();
        drop(RotatingFile::open(path, Rotation::default()).unwrap());
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["events.ndjson", "events.ndjson.1.gz", "events.ndjson.2.gz"]);
        let mut text = String::new();
        let newest = File::open(dir.path().join("events.ndjson.1.gz")).unwrap();
        flate2::read::GzDecoder::new(newest).read_to_string(&mut text).unwrap();
        assert_eq!(text, "{\"n\":12}\n");
        #[cfg(unix)]
        {
            let mode = std::fs::metadata(dir.path().join("events.ndjson.1.gz")).unwrap();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o007, 0, "not for everybody");
        }
    }

    #[test]
    fn a_full_disk_is_counted_and_said_once() {
        if !Path::new("/dev/full").exists() {
            return;
        }
        let mut out = RotatingFile::open("/dev/full".into(), Rotation::default()).unwrap();
        for _ in 0..3 {
            out.write(b"{}\n", ONE);
            out.flush();
        }
        assert_eq!(out.lost(), 3);
        assert!(out.take_message().unwrap().contains("/dev/full"));
        assert_eq!(out.take_message(), None);
    }
}
