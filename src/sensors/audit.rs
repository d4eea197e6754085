//! Raw records of the Linux audit system: several lines for one event, joined by their serial number.
//!
//! Bound: [`OPEN`] events whose records are not complete, each of at most [`EVENT`] bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::value::{conn, name_process, nowhere};
use super::{Connection, Fact, Kind, time};
use crate::conn::{Conn, Endpoint, Origin, Process, Proto};
use crate::text::hex;

/// Events whose records may come mixed.
const OPEN: usize = 64;
/// Most bytes of one event's records: a command line may be two megabytes.
const EVENT: usize = 4 * 1024 * 1024;

/// Records that wait for those that belong to them.
#[derive(Debug, Default)]
pub(super) struct Records {
    open: VecDeque<Group>,
}

/// The records of one event.
#[derive(Debug, Default)]
struct Group {
    /// Node and `audit(time:serial)`.
    key: String,
    lines: Vec<String>,
    bytes: usize,
}

/// Whether a line is an audit record.
pub(super) fn is_record(line: &[u8]) -> bool {
    (line.starts_with(b"type=") || line.starts_with(b"node=")) && crate::bytes::find(line, b"msg=audit(").is_some()
}

impl Records {
    /// Takes a record; events that are complete are handed to `take`. `None` where the line is no record.
    pub(super) fn line(&mut self, line: &str, take: &mut dyn FnMut(Fact)) -> Option<()> {
        let at = line.find("msg=audit(")?;
        let stamp = line.get(at..)?.split(')').next()?;
        let node = line.strip_prefix("node=").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let key = format!("{node} {stamp}");
        let kind = field(line, "type").unwrap_or_default();
        if kind == "EOE" {
            if let Some(at) = self.open.iter().position(|group| group.key == key) {
                self.open.remove(at).iter().filter_map(Group::fact).for_each(take);
            }
            return Some(());
        }
        if !self.open.iter().any(|group| group.key == key) {
            if self.open.len() >= OPEN {
                self.open.pop_front().iter().filter_map(Group::fact).for_each(&mut *take);
            }
            self.open.push_back(Group { key: key.clone(), ..Group::default() });
        }
        let group = self.open.iter_mut().rev().find(|group| group.key == key)?;
        group.bytes = group.bytes.saturating_add(line.len());
        if group.bytes <= EVENT && matches!(&*kind, "SYSCALL" | "EXECVE" | "SOCKADDR" | "PROCTITLE") {
            group.lines.push(line.to_owned());
        }
        Some(())
    }

    /// The file is over.
    pub(super) fn finish(&mut self, take: &mut dyn FnMut(Fact)) {
        self.open.drain(..).filter_map(|group| group.fact()).for_each(take);
    }
}

/// Numbers of `connect` and `sendto` on the architectures that the kernel names so.
const CONNECTS: &[(&str, &[&str])] =
    &[("c000003e", &["42", "44"]), ("c00000b7", &["203", "206"]), ("40000003", &["362", "102"])];

impl Group {
    fn of(&self, kind: &str) -> Option<&str> {
        self.lines.iter().find(|line| field(line, "type").as_deref() == Some(kind)).map(String::as_str)
    }

    fn fact(&self) -> Option<Fact> {
        let call = self.of("SYSCALL")?;
        let time = time::parse(self.key.split_once('(')?.1.split(':').next()?)?;
        let node = self.key.split(' ').next().filter(|node| !node.is_empty());
        let origin = Arc::new(Origin {
            sensor: "auditd",
            host_name: node.map(Into::into),
            host: node.map(|node| serde_json::json!({ "name": node }).to_string().into()),
            hash: hash(&self.lines),
            ..Origin::default()
        });
        let (ends, kind) = match (self.of("EXECVE"), self.of("SOCKADDR")) {
            (Some(_), _) => ((nowhere(0), nowhere(0)), Kind::Start),
            (None, Some(address)) => {
                let (arch, number) = (field(call, "arch")?, field(call, "syscall")?);
                let known = CONNECTS.iter().find(|(known, _)| *known == arch);
                known.is_none_or(|(_, numbers)| numbers.contains(&&*number)).then_some(())?;
                // EINPROGRESS: it goes on
                let exit = field(call, "exit").unwrap_or_default();
                let is_refused =
                    field(call, "success").as_deref() == Some("no") && !matches!(&*exit, "-115" | "EINPROGRESS");
                (
                    (nowhere(0), sockaddr(&field(address, "saddr")?)?),
                    Kind::Connection(Connection { end: None, is_refused }),
                )
            }
            (None, None) => return None,
        };
        let conn = Conn { process: Some(Arc::new(self.process(call))), ..conn(ends.0, ends.1, Proto::Tcp, &origin) };
        Some(Fact { time, conn, kind })
    }

    fn process(&self, call: &str) -> Process {
        let number = |name| field(call, name).and_then(|number| number.parse().ok());
        let args = self.of("EXECVE").map(arguments).unwrap_or_default();
        let title =
            self.of("PROCTITLE").and_then(|line| field(line, "proctitle")).map(|title| title.replace('\0', " "));
        let mut process = Process {
            pid: number("pid").unwrap_or(0),
            executable: field(call, "exe").filter(|exe| exe != "(null)"),
            command_line: title.filter(|_| args.is_empty()),
            args,
            parent: number("ppid"),
            user: number("euid").or_else(|| number("uid")),
            ..Process::default()
        };
        name_process(&mut process, field(call, "comm").as_deref());
        process
    }
}

fn hash(lines: &[String]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new();
    lines.iter().for_each(|line| hasher.write(line.as_bytes()));
    hasher.finish()
}

/// The arguments `a0` to `aN`; one that is long comes in pieces, `a2[0]`, `a2[1]`.
fn arguments(line: &str) -> Vec<String> {
    let mut out: Vec<(usize, String)> = Vec::new();
    for (name, value) in pairs(line) {
        let number = name.strip_prefix('a').map(|rest| rest.split('[').next().unwrap_or(rest));
        let Some(number) = number.and_then(|number| number.parse::<usize>().ok()) else { continue };
        let value = decoded(value);
        match out.pop_if(|(last, _)| *last == number) {
            Some((last, text)) => out.push((last, text + &value)),
            None if out.len() < 4096 => out.push((number, value)),
            None => break,
        }
    }
    out.into_iter().map(|(_, text)| text).collect()
}

/// A family, port and address in hexadecimal, as the kernel has them in memory.
fn sockaddr(hex: &str) -> Option<Endpoint> {
    let bytes: Vec<u8> = unhex(hex)?;
    let family = bytes.first_chunk::<2>().map(|family| u16::from_le_bytes(*family))?;
    let port = u16::from_be_bytes(*bytes.get(2..4)?.first_chunk::<2>()?);
    let ip = match family {
        2 => std::net::IpAddr::from(*bytes.get(4..)?.first_chunk::<4>()?),
        10 => std::net::IpAddr::from(*bytes.get(8..)?.first_chunk::<16>()?).to_canonical(),
        _ => return None,
    };
    Some(Endpoint { ip, port })
}

/// The bytes of a value that is not empty and hexadecimal throughout.
fn unhex(value: &str) -> Option<Vec<u8>> {
    hex::decode(value.as_bytes()).filter(|bytes| !bytes.is_empty())
}

/// The value of a field of a record, quotes or hexadecimal undone.
fn field(line: &str, name: &str) -> Option<String> {
    let (_, value) = pairs(line).find(|(known, _)| *known == name)?;
    let is_number =
        matches!(name, "pid" | "ppid" | "uid" | "euid" | "syscall" | "exit" | "arch" | "saddr" | "success" | "type");
    Some(if is_number { value.trim_matches('"').to_owned() } else { decoded(value) })
}

/// What stands in quotes is text; what does not, and is hexadecimal, is text with characters that need that.
fn decoded(value: &str) -> String {
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').unwrap_or(quoted).to_owned(),
        None => unhex(value).map_or_else(|| value.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// `name=value` pairs; values in double quotes may hold blanks.
fn pairs(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\u{1d}', '\'']);
        let (name, after) = rest.split_once('=')?;
        let end = match after.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(after.len(), |at| at.saturating_add(2)),
            None => after.find([' ', '\u{1d}']).unwrap_or(after.len()),
        };
        let (value, tail) = after.split_at_checked(end).unwrap_or((after, ""));
        rest = tail;
        Some((name.rsplit(' ').next().unwrap_or(name), value))
    })
}
