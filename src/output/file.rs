//! An output file: whole lines appended through a buffer, rotated by size or age, surviving a full disk.
//!
//! Only whole lines reach the file: the buffer is handed over at line ends, and after a write that the disk cut short
//! the file is cut back to its last whole line before writing goes on. Whoever writes never waits for more than one
//! write: a full file is only renamed, and a [`Keeper`] thread compresses it, numbers it, and syncs what was written.
//! What a crash left behind, a torn line or a file that was not compressed yet, is put in order by the next run.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{Batch, Counters, Filter, Form, Kind, Needs, Output, OutputError};

/// When to start a new file, and how many old ones to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// New file at this many bytes.
    pub size: Option<u64>,
    /// New file at this age.
    pub age: Option<Duration>,
    /// How many rotated files stay.
    pub keep: usize,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { size: None, age: None, keep: 7 }
    }
}

impl Rotation {
    /// Whether there is ever a new file.
    pub fn is_on(&self) -> bool {
        self.size.is_some() || self.age.is_some()
    }
}

/// A file as an output.
pub struct FileOutput {
    file: RotatingFile,
    form: Form,
    filter: Filter,
    counters: Arc<Counters>,
}

impl FileOutput {
    /// Opens `path` for these events in this form.
    ///
    /// # Errors
    /// As [`RotatingFile::open`].
    pub fn open(path: PathBuf, rotation: Rotation, form: Form, filter: Filter) -> io::Result<Self> {
        let counters = Arc::new(Counters::new(&path.display().to_string()));
        Ok(Self { file: RotatingFile::open(path, rotation)?, form, filter, counters })
    }

    /// Counts what became of what was written since the last time.
    fn settle(&mut self) {
        let Tally { bytes, taken, lost } = std::mem::take(&mut self.file.tally);
        self.counters.send(taken.sum());
        self.counters.acknowledge(taken.sum(), 0, bytes, Duration::ZERO);
        self.counters.drop_many(lost.alerts, lost.events);
        if lost.sum() > 0 {
            self.counters.fail();
        } else if taken.sum() > 0 {
            self.counters.recover();
        }
    }
}

impl Output for FileOutput {
    fn form(&self) -> Form {
        self.form
    }

    fn filter(&self) -> Filter {
        self.filter
    }

    fn needs(&self) -> Needs {
        let folder = self.file.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Needs { write: vec![folder.map_or_else(|| ".".into(), Path::to_owned)], ..Needs::default() }
    }

    fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), OutputError> {
        let mut count = Count::default();
        batch.labels().for_each(|label| count.add(label.kind));
        self.file.write(batch.in_form(self.form), count);
        self.settle();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.file.flush();
        self.settle();
        Ok(())
    }

    fn reopen(&mut self) {
        self.file.reopen();
    }

    fn message(&mut self) -> Option<String> {
        self.file.take_message()
    }
}

impl Drop for FileOutput {
    fn drop(&mut self) {
        self.file.flush();
        self.settle();
    }
}

/// Events by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Alerts.
    pub alerts: u64,
    /// Others.
    pub events: u64,
}

impl Count {
    fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Alert => self.alerts += 1,
            _ => self.events += 1,
        }
    }

    fn join(&mut self, other: Self) {
        self.alerts += other.alerts;
        self.events += other.events;
    }

    fn sum(self) -> u64 {
        self.alerts + self.events
    }
}

/// What became of what was written.
#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    taken: Count,
    lost: Count,
}

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
}

impl RotatingFile {
    /// Opens `path` for appending, and creates it with mode 0640 (less the umask) where it does not exist.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let (file, written) = append(&path)?;
        let left = set_aside(&path);
        let next = left.last().map_or(0, |(number, _)| number + 1);
        Ok(Self {
            keeper: Keeper::new(path.clone(), rotation.keep),
            left: left.into_iter().map(|(_, file)| file).collect(),
            next,
            synced: Instant::now(),
            path,
            rotation,
            file: Some(file),
            buffer: Vec::with_capacity(BUFFER),
            buffered: Count::default(),
            tally: Tally::default(),
            written,
            opened: SystemTime::now(),
            lost: 0,
            failing: false,
            message: None,
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

    fn due(&self) -> bool {
        let size = self.written + self.buffer.len() as u64;
        self.rotation.size.is_some_and(|limit| size >= limit)
            || self.rotation.age.is_some_and(|age| self.opened.elapsed().is_ok_and(|old| old >= age))
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
        if self.file.is_none() {
            self.reopen();
        }
        let outcome = match &mut self.file {
            Some(file) => file.write_all(lines),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        match outcome {
            Ok(()) => {
                self.written += lines.len() as u64;
                self.tally.bytes += lines.len() as u64;
                self.tally.taken.join(count);
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
        if let Some(file) = &self.file
            && file.set_len(self.written).is_err()
        {
            self.file = None;
        }
    }

    /// Closes the file and opens its path again.
    pub fn reopen(&mut self) {
        self.file = None;
        match append(&self.path) {
            Ok((file, written)) => {
                self.file = Some(file);
                self.written = written;
                self.opened = SystemTime::now();
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
            self.message = Some(format!("output {}: cannot rotate: {error}", self.path.display()));
            self.opened = SystemTime::now();
            return;
        }
        self.sync();
        if self.rotation.keep > 0 {
            self.next += 1;
            self.keeper.give(Job::Compress(aside));
        }
        self.reopen();
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

/// What the keeper does.
enum Job {
    /// Compress a file that was set aside, as number 1 of the rotated ones.
    Compress(PathBuf),
    /// Bring a file to the disk.
    Sync(File),
}

/// The thread that does what takes time. Its jobs are names and descriptors; one that cannot keep up leaves files set
/// aside, uncompressed, and nobody waits for it. It starts with its first job, and so with no more rights than who gives it
/// that: an output may be opened with privilege and written without.
struct Keeper {
    path: PathBuf,
    keep: usize,
    running: Option<Running>,
}

struct Running {
    jobs: Sender<Job>,
    messages: Receiver<String>,
    done: Receiver<()>,
}

impl Keeper {
    fn new(path: PathBuf, keep: usize) -> Self {
        Self { path, keep, running: None }
    }

    fn give(&mut self, job: Job) {
        let running = self.running.get_or_insert_with(|| Running::start(self.path.clone(), self.keep));
        let _ = running.jobs.send(job);
    }

    fn message(&self) -> Option<String> {
        self.running.as_ref()?.messages.try_recv().ok()
    }
}

impl Running {
    fn start(path: PathBuf, keep: usize) -> Self {
        let (jobs, todo) = unbounded();
        let (tell, messages) = bounded(4);
        let (end, done) = bounded::<()>(0);
        let work = move || {
            let _end = end;
            for job in todo {
                let outcome = match job {
                    Job::Compress(aside) => number(&aside, &path, keep),
                    // A destination that cannot be synced, such as a pipe, has been written to all the same.
                    Job::Sync(file) => file.sync_data().or(Ok(())),
                };
                if let Err(error) = outcome {
                    let _ = tell.try_send(format!("output {}: cannot compress: {error}", path.display()));
                }
            }
        };
        // Without a thread, jobs find no taker: files stay as they were set aside.
        let _ = std::thread::Builder::new().name("keeper".into()).spawn(work);
        Self { jobs, messages, done }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(Running { jobs, done, .. }) = self.running.take() {
            drop(jobs);
            // What is not done by then, the next run does.
            let _ = done.recv_timeout(PATIENCE);
        }
    }
}

/// Makes a file that was set aside number 1 of `keep` compressed ones.
fn number(aside: &Path, path: &Path, keep: usize) -> io::Result<()> {
    let numbered = |n: usize| with_suffix(path, &format!("{n}.gz"));
    let _ = std::fs::remove_file(numbered(keep));
    for n in (1..keep).rev() {
        let _ = std::fs::rename(numbered(n), numbered(n + 1));
    }
    compress(aside, &numbered(1))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Where a full file waits to be compressed.
fn aside(path: &Path, number: u64) -> PathBuf {
    with_suffix(path, &format!("{number}.full"))
}

/// What an earlier run has set aside and not compressed, in order.
fn set_aside(path: &Path) -> Vec<(u64, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut left: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.file_name();
            let number = entry.to_str()?.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".full")?.parse().ok()?;
            Some((number, aside(path, number)))
        })
        .collect();
    left.sort_unstable();
    left
}

/// Opens for appending and cuts off a torn last line, as a crash of an earlier run may have left.
fn append(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let file = options.open(path)?;
    let len = file.metadata()?.len();
    if len == 0 || !file.metadata()?.is_file() {
        return Ok((file, 0));
    }
    let whole = whole_lines(path, len)?;
    if whole < len {
        file.set_len(whole)?;
    }
    Ok((file, whole))
}

/// Length of `path` up to and including its last line end, looking back at most 1 MiB.
fn whole_lines(path: &Path, len: u64) -> io::Result<u64> {
    use std::io::{Read, Seek, SeekFrom};
    let window = len.min(1 << 20);
    let mut tail = Vec::new();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(len - window))?;
    file.take(window).read_to_end(&mut tail)?;
    Ok(match memchr::memrchr(b'\n', &tail) {
        Some(at) => len - window + at as u64 + 1,
        None if window == len => 0,
        None => len,
    })
}

/// Writes `from` gzip-compressed to `to` and removes it; `to` appears only when it is whole.
fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let mut encoder = flate2::write::GzEncoder::new(options.open(&part)?, flate2::Compression::fast());
    io::copy(&mut File::open(from)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::rename(&part, to)?;
    std::fs::remove_file(from)
}

const BUFFER: usize = 64 * 1024;

/// Written lines are on the disk after so long.
const SYNC_AFTER: Duration = Duration::from_secs(5);

/// How long the end of a run waits for files to be compressed.
const PATIENCE: Duration = Duration::from_secs(10);

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
