//! One file of events, from its first byte to its last: lines, an Elasticsearch export, Zeek's tables, audit records.
//!
//! In: decompressed bytes. Out: [`Fact`]s, and [`Trouble`]s for lines that cannot be read. Bound: a block of [`BLOCK`]
//! bytes, or of the longest line, at most [`LONGEST`].

use std::io::{self, Read};
use std::sync::Arc;

use serde_json::Value;

use super::audit::{self, Records};
use super::prefilter::Prefilter;
use super::value::Event;
use super::zeek::{self, Table};
use super::{Fact, ecs, falco, suricata, sysmon};

/// Bytes that are read at once.
const BLOCK: usize = 1024 * 1024;
/// Longest line, or element of an export.
pub const LONGEST: usize = 16 * 1024 * 1024;

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// How a file is laid out.
#[derive(Debug)]
enum Layout {
    /// One JSON object a line.
    Lines,
    /// JSON objects one after the other, over several lines, or in an array.
    Objects(Splitter),
    /// Columns.
    Table(Box<Table>),
    /// Audit records.
    Records(Box<Records>),
}

/// Whether a file begins like events. Where it is JSON, its first object has to be an event that we know the shape of.
pub fn looks_like_events(head: &[u8]) -> bool {
    let head = begin(head);
    if head.starts_with(b"#separator ") || head.starts_with(b"#fields\t") {
        return true;
    }
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    if audit::is_record(line) {
        return true;
    }
    let is_json = matches!(head.first(), Some(b'{' | b'['));
    is_json
        && KNOWN.iter().any(|key| memchr::memmem::find(head.get(..64 * 1024).unwrap_or(head), key.as_bytes()).is_some())
}

/// Whether a file begins with an event that this program wrote: found in a folder beside the captures that it was made of,
/// it tells nothing that they do not. Packetbeat's own versions begin at 5.
pub fn looks_like_own_events(head: &[u8]) -> bool {
    let line = begin(head).split(|b| *b == b'\n').next().unwrap_or_default();
    let Ok(event) = serde_json::from_slice::<Value>(line) else { return false };
    let text = |path: &str| event.pointer(path).and_then(Value::as_str);
    let major = text("/agent/version").and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    let is_younger = text("/agent/type") == Some("packetbeat") && major.is_some_and(|major| major < 5);
    is_younger || text("/rule/ruleset") == Some("imdswatch")
}

/// Keys that one of the sensors' events have.
const KNOWN: &[&str] = &[
    "\"@timestamp\"",
    "\"event_type\"",
    "\"id.orig_h\"",
    "\"orig_h\"",
    "\"output_fields\"",
    "\"EventID\"",
    "\"_source\"",
    "\"record_type\"",
    "\"auditd\"",
    "\"winlog\"",
    "\"event\":{",
    "\"event\": {",
    "\"event.category\"",
];

/// Without byte order mark and blanks.
fn begin(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}

/// See the module.
pub struct Reader {
    from: Box<dyn Read + Send>,
    prefilter: Arc<Prefilter>,
    layout: Option<Layout>,
    block: Vec<u8>,
    /// How much of `block` was read and not taken.
    filled: usize,
    /// Number of the first line in `block`.
    line: u64,
    /// A line is longer than may be: the rest of it is passed over.
    is_skipping: bool,
    ended: bool,
    /// What comes is taken at once: more may be long in coming.
    is_stream: bool,
    /// Nothing came within the time that `from` waits.
    pub is_idle: bool,
    /// Bytes read so far.
    pub bytes: u64,
    /// Lines, or elements, so far.
    pub records: u64,
}

impl Reader {
    /// Reads from `from`.
    pub fn new(from: Box<dyn Read + Send>, prefilter: Arc<Prefilter>) -> Self {
        Self {
            from,
            prefilter,
            layout: None,
            block: vec![0; BLOCK],
            filled: 0,
            line: 1,
            is_skipping: false,
            ended: false,
            is_stream: false,
            is_idle: false,
            bytes: 0,
            records: 0,
        }
    }

    /// The same for input that is written while it is read: what comes is taken at once, and where `from` says
    /// [`io::ErrorKind::TimedOut`], nothing more has come for now.
    #[must_use]
    pub fn as_it_comes(self) -> Self {
        Self { is_stream: true, ..self }
    }

    /// Reads on; `false` at the end.
    ///
    /// # Errors
    /// Those of the system or of the decompressor. What came before was handed out.
    pub fn next(&mut self, facts: &mut Vec<Fact>, troubles: &mut Vec<Trouble>) -> io::Result<bool> {
        let read = self.fill();
        let layout = self.layout.take();
        let mut layout = layout.unwrap_or_else(|| layout_of(self.block.get(..self.filled).unwrap_or_default()));
        let taken = match &mut layout {
            Layout::Objects(splitter) => self.objects(splitter, facts, troubles),
            lines => self.lines(lines, facts, troubles),
        };
        if (self.ended || self.is_idle)
            && let Layout::Records(records) = &mut layout
        {
            records.finish(&mut |fact| facts.push(fact));
        }
        self.layout = Some(layout);
        self.take(taken, troubles);
        read.map(|()| !self.ended)
    }

    /// Fills the block.
    fn fill(&mut self) -> io::Result<()> {
        self.is_idle = false;
        while self.filled < self.block.len() && !self.ended {
            let room = self.block.get_mut(self.filled..).unwrap_or_default();
            match self.from.read(room) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.filled = self.filled.saturating_add(count);
                    self.bytes = self.bytes.saturating_add(count as u64);
                    if self.is_stream {
                        break;
                    }
                }
                Err(error) if self.is_stream && error.kind() == io::ErrorKind::TimedOut => {
                    self.is_idle = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Moves on past what was taken; makes room where a line needs it, or gives it up.
    fn take(&mut self, taken: usize, troubles: &mut Vec<Trouble>) {
        let done = self.block.get(..taken).unwrap_or_default();
        self.line = self.line.saturating_add(memchr::memchr_iter(b'\n', done).count() as u64);
        self.block.copy_within(taken.min(self.filled)..self.filled, 0);
        self.filled = self.filled.saturating_sub(taken);
        if taken > 0 || self.filled < self.block.len() {
            return;
        }
        if self.block.len() < LONGEST {
            self.block.resize(self.block.len().saturating_mul(2), 0);
        } else {
            troubles.push(Trouble { line: self.line, reason: "longer than is read".to_owned() });
            self.is_skipping = true;
            self.filled = 0;
            self.block = vec![0; BLOCK];
            if let Some(Layout::Objects(splitter)) = &mut self.layout {
                splitter.start = None;
            }
        }
    }

    /// Takes whole lines; returns how many bytes they are.
    fn lines(&mut self, layout: &mut Layout, facts: &mut Vec<Fact>, troubles: &mut Vec<Trouble>) -> usize {
        let block = std::mem::take(&mut self.block);
        let filled = block.get(..self.filled).unwrap_or_default();
        let whole = memchr::memrchr(b'\n', filled).map_or(0, |at| at.saturating_add(1));
        let whole = if self.ended { filled.len() } else { whole };
        let region = filled.get(..whole).unwrap_or_default();
        let prefilter = Arc::clone(&self.prefilter);
        let mut places = prefilter.places(region).peekable();
        let (mut start, mut number) = (0_usize, self.line);
        while start < region.len() {
            let rest = region.get(start..).unwrap_or_default();
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let end = start.saturating_add(length);
            let line = rest.get(..length).unwrap_or_default();
            let mut matters = false;
            while let Some(found) = places.next_if(|found| found.start() < end) {
                let after = region.get(found.end().min(end)..end).unwrap_or_default();
                matters = matters || prefilter.matters(&found, after);
            }
            let is_rest = std::mem::take(&mut self.is_skipping);
            if !is_rest {
                self.records = self.records.saturating_add(1);
                let taken = self.line(layout, line.trim_ascii(), matters, facts);
                troubles.extend(taken.err().map(|reason| Trouble { line: number, reason }));
            }
            number = number.saturating_add(1);
            start = end.saturating_add(1);
        }
        drop(places);
        self.block = block;
        whole
    }

    /// Takes one line.
    fn line(&self, layout: &mut Layout, line: &[u8], matters: bool, facts: &mut Vec<Fact>) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        match layout {
            Layout::Table(table) if line.starts_with(b"#") => table.directive(&String::from_utf8_lossy(line)),
            Layout::Table(table) if matters => {
                let event = table.event(&String::from_utf8_lossy(line)).ok_or("has not the columns of its table")?;
                facts.extend(zeek::facts(Event(&event), line));
            }
            Layout::Table(_) => {}
            Layout::Records(records) => {
                let read = records.line(&String::from_utf8_lossy(line), &mut |fact| facts.push(fact));
                read.ok_or("is no audit record")?;
            }
            Layout::Lines | Layout::Objects(_) => {
                let line = line.strip_suffix(b",").unwrap_or(line);
                if !matters {
                    let is_object = line.first() == Some(&b'{') && line.last() == Some(&b'}');
                    return is_object.then_some(()).ok_or_else(|| "is no JSON object".to_owned());
                }
                facts.extend(parse(line)?);
            }
        }
        Ok(())
    }

    /// Takes whole objects; returns how many bytes were looked at for good.
    fn objects(&mut self, splitter: &mut Splitter, facts: &mut Vec<Fact>, troubles: &mut Vec<Trouble>) -> usize {
        let filled = self.block.get(..self.filled).unwrap_or_default();
        let first = self.line;
        let (mut counted, mut line) = (0_usize, first);
        let mut records = 0_u64;
        let prefilter = &self.prefilter;
        let taken = splitter.split(filled, &mut |start, end| {
            records = records.saturating_add(1);
            line = line.saturating_add(
                memchr::memchr_iter(b'\n', filled.get(counted..start).unwrap_or_default()).count() as u64,
            );
            counted = start;
            let object = filled.get(start..end).unwrap_or_default();
            if prefilter.takes(object) {
                match parse(object) {
                    Ok(found) => facts.extend(found),
                    Err(reason) => troubles.push(Trouble { line, reason }),
                }
            }
        });
        if self.ended && splitter.start.is_some() {
            troubles.push(Trouble { line, reason: "the file ends inside an object".to_owned() });
        }
        self.records = self.records.saturating_add(records);
        if self.ended { self.filled } else { taken }
    }
}

/// How the file that begins so is laid out.
fn layout_of(head: &[u8]) -> Layout {
    let text = begin(head);
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii();
    if text.starts_with(b"#") {
        return Layout::Table(Box::default());
    }
    if audit::is_record(line) {
        return Layout::Records(Box::default());
    }
    let is_export = hits(text.get(..64 * 1024).unwrap_or(text)).is_some();
    let is_whole = line.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    match text.first() {
        _ if is_export => Layout::Objects(Splitter { in_hits: Some(false), ..Splitter::default() }),
        Some(b'[') => Layout::Objects(Splitter::default()),
        // a damaged first line does not make a file of lines one of objects
        Some(b'{') if !is_whole && !line.ends_with(b"}") && line.len() < 512 => Layout::Objects(Splitter::default()),
        _ => Layout::Lines,
    }
}

/// Where the array of an Elasticsearch answer's hits begins: behind `"hits":[`.
fn hits(text: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(text, b"\"hits\"").find_map(|at| {
        let rest = text.get(at.saturating_add(6)..)?;
        let colon = rest.trim_ascii_start().strip_prefix(b":")?;
        let array = colon.trim_ascii_start().strip_prefix(b"[")?;
        text.len().checked_sub(array.len())
    })
}

/// Finds where objects begin and end, in pieces.
#[derive(Debug, Default)]
struct Splitter {
    /// Brackets that are open inside the object.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// Where the open object began.
    start: Option<usize>,
    /// How far the block was looked at.
    at: usize,
    /// In an export: whether the array of hits was found.
    in_hits: Option<bool>,
}

impl Splitter {
    /// Hands out the objects that end in `block`; returns up to where the block is not needed any more.
    fn split(&mut self, block: &[u8], take: &mut dyn FnMut(usize, usize)) -> usize {
        loop {
            if self.in_hits == Some(false) {
                let Some(at) = hits(block.get(self.at..).unwrap_or_default()) else {
                    // the word may stand over the border
                    let taken = block.len().saturating_sub(64).max(self.at);
                    self.at = 0;
                    return taken;
                };
                self.at = self.at.saturating_add(at);
                self.in_hits = Some(true);
            }
            if !self.array(block, take) {
                return self.rest();
            }
        }
    }

    /// Goes on to the end of the block, or of an export's array: then it says so.
    fn array(&mut self, block: &[u8], take: &mut dyn FnMut(usize, usize)) -> bool {
        while let Some(&byte) = block.get(self.at) {
            self.at = self.at.saturating_add(1);
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = self.start.is_some(),
                b'{' | b'[' if self.start.is_some() => self.depth = self.depth.saturating_add(1),
                b'{' => (self.start, self.depth) = (Some(self.at.saturating_sub(1)), 1),
                b'}' | b']' if self.start.is_some() => {
                    self.depth = self.depth.saturating_sub(1);
                    if let Some(start) = self.start.filter(|_| self.depth == 0) {
                        take(start, self.at);
                        self.start = None;
                    }
                }
                b']' if self.in_hits.is_some() => {
                    self.in_hits = Some(false);
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// What came before the open object is not needed any more.
    fn rest(&mut self) -> usize {
        let taken = self.start.unwrap_or(self.at);
        self.at = self.at.saturating_sub(taken);
        self.start = self.start.map(|_| 0);
        taken
    }
}

/// What an event tells, by the shape of whatever sensor wrote it.
fn parse(text: &[u8]) -> Result<Vec<Fact>, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| {
        // the place in the file is said beside it
        format!("is no JSON ({})", error.to_string().replace(" at line 1 column ", " at column "))
    })?;
    let hit = Event(&value);
    let event = hit.below("_source").unwrap_or(hit);
    let mut facts = if suricata::is_eve(event) {
        suricata::facts(event, text)
    } else if zeek::is_log(event) {
        zeek::facts(event, text)
    } else if falco::is_falco(event) {
        falco::facts(event, text)
    } else if sysmon::is_flat(event) {
        sysmon::flat(event, text)
    } else {
        ecs::facts(event, text)
    };
    // an export names its documents
    if let Some(id) = hit.text("_id").filter(|_| hit.has("_source")) {
        for fact in &mut facts {
            if let Some(origin) = &mut fact.conn.told_by
                && origin.id.is_none()
            {
                Arc::make_mut(origin).id = Some(id.chars().take(256).collect::<String>().into());
            }
        }
    }
    Ok(facts)
}
