//! The thread that does what takes time: compressing full files, numbering them, bringing written lines to the disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// What the keeper does.
pub(super) enum Job {
    /// Compress a file that was set aside, as number 1 of the rotated ones.
    Compress(PathBuf),
    /// Bring a file to the disk.
    Sync(File),
}

/// The thread that does what takes time. Its jobs are names and descriptors; one that cannot keep up leaves files set
/// aside, uncompressed, and nobody waits for it. It starts with its first job, and so with no more rights than who gives it
/// that: an output may be opened with privilege and written without.
pub(super) struct Keeper {
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
    pub(super) fn new(path: PathBuf, keep: usize) -> Self {
        Self { path, keep, running: None }
    }

    pub(super) fn give(&mut self, job: Job) {
        let running = self.running.get_or_insert_with(|| Running::start(self.path.clone(), self.keep));
        let _ = running.jobs.send(job);
    }

    pub(super) fn message(&self) -> Option<String> {
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

/// Makes a file that was set aside number 1 of `keep` compressed ones. Only files that exist are renamed.
fn number(aside: &Path, path: &Path, keep: usize) -> io::Result<()> {
    let numbered = |n: usize| with_suffix(path, &format!("{n}.gz"));
    let taken = (1..keep).find(|n| !numbered(*n).exists()).unwrap_or(keep);
    for n in (1..taken).rev() {
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
pub(super) fn aside(path: &Path, number: u64) -> PathBuf {
    with_suffix(path, &format!("{number}.full"))
}

/// What an earlier run has set aside and not compressed, in order.
pub(super) fn set_aside(path: &Path) -> Vec<(u64, PathBuf)> {
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

/// How long the end of a run waits for files to be compressed.
const PATIENCE: Duration = Duration::from_secs(10);
