//! What is handed to people: the HTML report of a replay (`-o FILE.html`) or of events that were written earlier
//! (`imdswatch report`), and the incidents in the closing summary on a terminal. Memory depends on what the events say, not
//! on how many they are.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use sha2::{Digest, Sha256};

use super::Report;
use super::tell_user;
use crate::capture::{CaptureError, Input, Listed, expand};
use crate::config::Config;
use crate::output::{Batch, Counters, Destination, Filter, Form, Output, OutputError, Settings};
use crate::report::{self, Collector};
use crate::text::hex;

/// Longest line that is read, in bytes: far above any event of this program.
const LONGEST: u64 = 16 << 20;
/// Lines of one file that are named when they cannot be read; the rest is counted.
const NAMED: u64 = 5;

/// What a replay hands to people, beside its other outputs.
pub(super) struct Handover {
    /// The outputs that are no reports.
    pub(super) others: Vec<Settings>,
    reports: Vec<(PathBuf, Shared)>,
    /// For the incidents in the summary; only where a person reads it.
    summary: Option<Shared>,
    inputs: Vec<Input>,
}

type Shared = Arc<Mutex<Collector>>;

impl Handover {
    /// Looks whether each report can be written, too: not first when hours of reading have ended.
    ///
    /// # Errors
    /// A report's place cannot be written to.
    pub(super) fn new(config: &Config, inputs: &[Result<Listed, CaptureError>]) -> anyhow::Result<Self> {
        let path = |one: &Settings| match &one.destination {
            Destination::Report(path) => Some((path.clone(), Shared::default())),
            _ => None,
        };
        let is_report = |one: &&Settings| matches!(one.destination, Destination::Report(_));
        let reports: Vec<_> = config.outputs.iter().filter_map(path).collect();
        reports.iter().try_for_each(|(path, _)| can_save(path))?;
        Ok(Self {
            others: config.outputs.iter().filter(|one| !is_report(one)).cloned().collect(),
            reports,
            summary: (!config.quiet && io::stderr().is_terminal()).then(Shared::default),
            inputs: inputs.iter().flatten().map(|listed| listed.input.clone()).collect(),
        })
    }

    /// What collects while the replay goes on.
    pub(super) fn outputs(&mut self) -> Vec<Box<dyn Output>> {
        let shared = self.reports.iter().map(|(path, shared)| (path.display().to_string(), shared));
        let summary = self.summary.iter().map(|shared| ("summary".to_owned(), shared));
        let output = |(name, shared): (String, &Shared)| -> Box<dyn Output> {
            Box::new(Collecting { shared: Arc::clone(shared), counters: Arc::new(Counters::new(&name)) })
        };
        shared.chain(summary).map(output).collect()
    }

    /// Writes what was collected, with what the run says of itself.
    pub(super) fn finish(self, report: &Report) -> anyhow::Result<()> {
        let taken = |shared: Shared| std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
        let inputs: Vec<_> =
            if self.reports.is_empty() { Vec::new() } else { self.inputs.iter().map(digest).collect() };
        for (path, shared) in self.reports {
            let mut collector = taken(shared);
            for (subject, text, lost) in report.coverage() {
                collector.note(report::Note { subject, text, lost });
            }
            inputs.iter().cloned().for_each(|input| collector.input(input));
            save(collector, &path)?;
        }
        if let Some(shared) = self.summary {
            let _ = write!(io::stderr(), "{}", taken(shared).text());
        }
        Ok(())
    }
}

/// Hands events to a collector.
struct Collecting {
    shared: Shared,
    counters: Arc<Counters>,
}

impl Output for Collecting {
    fn form(&self) -> Form {
        Form::Json
    }

    fn filter(&self) -> Filter {
        Filter::default()
    }

    fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), OutputError> {
        let mut collector = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for event in batch.events() {
            // Our own lines; one that could not be read would be counted by the collector.
            let _ = collector.line(event.json);
        }
        self.counters.send(batch.len() as u64);
        self.counters.acknowledge(batch.len() as u64, 0, batch.json.len() as u64, Duration::ZERO);
        Ok(())
    }
}

/// Name, size and digest of an input as it lies on disk; what is no regular file (standard input) has been read away.
fn digest(input: &Input) -> report::Input {
    let of = report::Input { name: input.to_string(), ..report::Input::default() };
    let (Input::Path(path), Some(size)) = (input, input.size()) else { return of };
    let Ok(file) = File::open(path) else { return of };
    let hash = Rc::new(RefCell::new((Sha256::new(), 0)));
    let read = io::copy(&mut Hashing { inner: Box::new(file), hash: Rc::clone(&hash) }, &mut io::sink());
    match read {
        Ok(_) => report::Input { size, sha256: hex::encode(&hash.take().0.finalize()), ..of },
        Err(_) => of,
    }
}

/// Writes the report of these files to `output`; says on standard error what could not be read. True if all could.
pub(super) fn write(events: &[PathBuf], output: &Path) -> anyhow::Result<bool> {
    can_save(output)?;
    let mut collector = Collector::default();
    let mut sound = true;
    for listed in expand(events) {
        let read = listed.map_err(anyhow::Error::from).and_then(|listed| read(&listed, &mut collector));
        match read {
            Ok(good) => sound &= good,
            Err(error) => {
                tell_user(format_args!("{error:#}"));
                sound = false;
            }
        }
    }
    save(collector, output)?;
    Ok(sound)
}

/// Renders the report and puts it in place in one step: nobody meets half a report.
pub(super) fn save(collector: Collector, output: &Path) -> anyhow::Result<()> {
    let html = collector.html().context("cannot render the report")?;
    let beside = place_beside(output)?;
    fs::write(&beside, html).and_then(|()| fs::rename(&beside, output)).with_context(|| cannot_save(output))
}

/// Looks whether a report could be put in this place; leaves nothing there.
fn can_save(output: &Path) -> anyhow::Result<()> {
    let beside = place_beside(output)?;
    let made = File::options().write(true).create_new(true).open(&beside);
    match made {
        Ok(_) => fs::remove_file(&beside),
        // Half a report of a run that was killed: whoever may write to it may replace it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            File::options().write(true).open(&beside).map(drop)
        }
        Err(error) => Err(error),
    }
    .with_context(|| cannot_save(output))
}

/// Where a report is written before it takes its place.
fn place_beside(output: &Path) -> anyhow::Result<PathBuf> {
    if fs::symlink_metadata(output).is_ok_and(|meta| !meta.is_file()) {
        anyhow::bail!("{}: it is there and no regular file", cannot_save(output));
    }
    let mut beside = output.as_os_str().to_owned();
    beside.push(".part");
    Ok(beside.into())
}

fn cannot_save(output: &Path) -> String {
    format!("cannot write the report {}", output.display())
}

/// Reads one file of events. False if a line of it could not be read. What lies in a folder and is none is passed over.
fn read(Listed { input, named }: &Listed, collector: &mut Collector) -> anyhow::Result<bool> {
    let raw: Box<dyn Read> = match input {
        Input::Path(path) => Box::new(File::open(path).with_context(|| format!("cannot open {input}"))?),
        Input::Stdin => Box::new(io::stdin()),
    };
    let hash = Rc::new(RefCell::new((Sha256::new(), 0)));
    let hashing = Hashing { inner: raw, hash: Rc::clone(&hash) };
    let mut lines = BufReader::with_capacity(1 << 18, plain(BufReader::with_capacity(1 << 18, hashing))?);
    let head = lines.fill_buf().with_context(|| format!("cannot read {input}"))?;
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    if !named && first.is_some_and(|byte| *byte != b'{') {
        return Ok(true);
    }
    if head.contains(&0) {
        anyhow::bail!("{input}: no NDJSON; a capture is replayed: imdswatch -r FILE -o FILE.html");
    }
    let outcome = read_lines(&mut lines, input, collector);
    drop(lines);
    let (digest, size) = hash.take();
    collector.input(report::Input { name: input.to_string(), size, sha256: hex::encode(&digest.finalize()) });
    outcome
}

fn read_lines(lines: &mut impl BufRead, input: &Input, collector: &mut Collector) -> anyhow::Result<bool> {
    let (mut line, mut number, mut bad) = (Vec::new(), 0_u64, 0_u64);
    loop {
        line.clear();
        let read = lines
            .by_ref()
            .take(LONGEST)
            .read_until(b'\n', &mut line)
            .with_context(|| format!("{input}: after line {number}"))?;
        if read == 0 {
            break;
        }
        number += 1;
        let cut = read as u64 == LONGEST && !line.ends_with(b"\n");
        if cut {
            skip_line(lines)?;
        }
        let fault = if cut {
            Some("longer than 16 MB".to_owned())
        } else {
            collector.line(&line).err().map(|error| error.to_string())
        };
        if let Some(fault) = fault {
            bad += 1;
            if bad <= NAMED {
                tell_user(format_args!("{input}: line {number} is no event: {fault}"));
            }
        }
    }
    if bad > NAMED {
        tell_user(format_args!("{input}: {bad} lines in all are no events"));
    }
    Ok(bad == 0)
}

fn skip_line(lines: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = lines.fill_buf()?;
        let (used, found) = memchr::memchr(b'\n', buffer).map_or((buffer.len(), false), |at| (at + 1, true));
        lines.consume(used);
        if found || used == 0 {
            return Ok(());
        }
    }
}

/// The text behind gzip or zstd, told by its first bytes.
fn plain(mut raw: BufReader<Hashing>) -> io::Result<Box<dyn Read>> {
    Ok(match raw.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(raw)?),
        _ => Box::new(raw),
    })
}

/// Takes the SHA-256 of what passes, as it lies in the file.
struct Hashing {
    inner: Box<dyn Read>,
    hash: Rc<RefCell<(Sha256, u64)>>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let (digest, size) = &mut *self.hash.borrow_mut();
        digest.update(buffer.get(..read).unwrap_or_default());
        *size += read as u64;
        Ok(read)
    }
}
