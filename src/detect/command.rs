//! What a command line names: addresses, names and paths of metadata services, plainly or in any disguise that a shell, an
//! interpreter or a URL parser undoes (contract section 7).
//!
//! In: the arguments of a process start, or its command line as one text. Out: the one target that gives most away. Each
//! text is read as it stands and with quotes, percent-encoding, escapes, base64 (UTF-16 as well) and hexadecimal undone.
//! Bound: those of [`search`]: bytes of arguments, bytes that are decoded, and bytes that are tried as a host, so that the
//! cost is linear in what was given.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod programs;
mod search;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub use programs::is_tool;
use search::{NAMED, Search, Target};

use super::detector::Detector;
use super::verdict::{Command, Connection, NoRequest};
use super::{HostRef, Imds, Sensitivity, Signal, Signals};
use crate::catalogue::Catalogue;
use crate::conn::{Conn, Endpoint, Process, Proto};
use crate::packet::Timestamp;
use crate::proto::http::{Head, Message, Transaction};

/// Most of the command line that is kept, in bytes.
const LINE: usize = 8192;

/// What a process start's command line names, as far as it has to do with metadata services. `process` is on `conn`.
pub fn judge(detector: &mut Detector, conn: Conn, time: Timestamp) -> Option<Command> {
    let process = conn.process.clone()?;
    let catalogue = Arc::clone(detector.catalogue());
    let line = match &process.command_line {
        Some(line) if process.args.is_empty() => line.clone(),
        _ => process.args.join(" "),
    };
    let texts: Vec<&str> = match process.args.as_slice() {
        [] => vec![line.as_str()],
        args => args.iter().map(String::as_str).collect(),
    };
    let mut search = Search::new(&catalogue);
    search.all(&texts);
    if search.found.is_empty() && !process.args.is_empty() {
        // what several arguments say together, and what was left out of them
        let whole = process.command_line.as_deref().filter(|whole| whole.len() > line.len());
        search.all(&[whole.unwrap_or(&line)]);
    }
    if search.found.is_empty() {
        search.literals(&texts);
    }
    search.complete(&line, programs::only_names(&process, &line));
    let fields = headers(&catalogue, &line);
    let found = search.found.into_iter();
    let judged = found.filter_map(|target| Some((detector.target(&target, &fields, time)?, target)));
    let weight = |found: &(Imds, Target)| weight(&catalogue, found);
    let (mut imds, target) = judged.reduce(|best, next| if weight(&next) > weight(&best) { next } else { best })?;
    let is_inline = programs::is_inline(&process, &line);
    let is_walk = !target.is_mention
        && (is_inline && catalogue.is_above_credentials(&imds.path) || lists_credentials(&catalogue, &imds));
    if target.disguised {
        imds.signals.add(Signal::ObfuscatedPath);
    }
    if is_tool(&process.name) || is_walk && is_inline {
        imds.signals.add(Signal::ToolProcess);
    }
    Some(Command {
        line: cut(&redact(&catalogue, &line), LINE).into(),
        named: cut(&redact(&catalogue, &target.named), NAMED).into(),
        conn: redacted(&catalogue, conn, &process),
        time,
        imds: Arc::new(imds),
        is_mention: target.is_mention,
        reached: None,
        is_walk,
    })
}

/// A process start of which the arguments could not be read: it names nothing, but the process then connected to the
/// metadata service at `server`.
pub fn unread(detector: &mut Detector, conn: Conn, time: Timestamp, server: Endpoint) -> Option<Command> {
    let process = conn.process.clone()?;
    let nobody = Endpoint { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };
    let connection = Conn::between(nobody, server, Proto::Tcp);
    let Connection { provider, service, .. } = detector.connection(connection, NoRequest::Reported, time, time)?;
    let target = Target {
        host: Some(HostRef::Address(server.ip)),
        port: Some(server.port),
        target: "/".to_owned(),
        named: String::new(),
        disguised: false,
        is_mention: true,
    };
    let mut imds = Imds { provider, service, ..detector.target(&target, &[], time)? };
    if is_tool(&process.name) {
        imds.signals.add(Signal::ToolProcess);
    }
    let catalogue = detector.catalogue();
    Some(Command {
        line: cut(&redact(catalogue, &process.args.join(" ")), LINE).into(),
        named: "".into(),
        conn: redacted(catalogue, conn, &process),
        time,
        imds: Arc::new(imds),
        is_mention: true,
        reached: Some(server),
        is_walk: false,
    })
}

/// What gives more away weighs more; a URL more than a mention, and what was written plainly more than a disguise. Who lists
/// the names of credentials is about to ask for them.
fn weight(catalogue: &Catalogue, (imds, target): &(Imds, Target)) -> (bool, Sensitivity, bool) {
    let gives = if lists_credentials(catalogue, imds) { Sensitivity::Credential } else { imds.sensitivity };
    (!target.is_mention, gives, imds.provider != "unknown")
}

fn lists_credentials(catalogue: &Catalogue, imds: &Imds) -> bool {
    imds.sensitivity == Sensitivity::Discovery && catalogue.lists_credentials(imds.provider, &imds.path)
}

/// The last part of a path, of either system.
pub fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

impl Detector {
    /// What a request for `target` would be about.
    fn target(&mut self, target: &Target, fields: &[(String, String)], time: Timestamp) -> Option<Imds> {
        const USUAL: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
        let ip = match &target.host {
            Some(HostRef::Address(ip)) => *ip,
            Some(HostRef::Name(name)) if name == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            // where the name leads to, as far as that is known
            Some(HostRef::Name(name)) => {
                let named = self.catalogue().endpoints_named(name);
                named.iter().find_map(|endpoint| endpoint.addresses.first().copied()).unwrap_or(USUAL)
            }
            None => USUAL,
        };
        let host = match &target.host {
            Some(HostRef::Name(name)) => name.clone(),
            _ => ip.to_string(),
        };
        let all = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let fields: Vec<_> = [(&b"host"[..], host.as_bytes())].into_iter().chain(all).collect();
        let method: &[u8] =
            if fields.iter().any(|(name, _)| name.ends_with(b"-ttl-seconds")) { b"PUT" } else { b"GET" };
        let head = Head::reported_request(method, target.target.as_bytes(), &fields);
        let server = Endpoint { ip, port: target.port.unwrap_or(80) };
        let client = Endpoint { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };
        let tx = Transaction {
            conn: Conn::between(client, server, Proto::Tcp),
            request: Some(Message::reported(head, time, time)),
            response: None,
            notes: Vec::new(),
            conflict: false,
            via: None,
            ordinal: 0,
            stream: None,
        };
        let mut imds = Arc::unwrap_or_clone(self.http(&tx, false).imds?);
        imds.signals = Signals::default();
        imds.headers = super::Recorded::default();
        imds.version = None;
        imds.session_token = None;
        imds.client = super::Client::default();
        if target.is_mention {
            imds.path.clear();
            imds.path_id = None;
            imds.credential = None;
            imds.sensitivity = Sensitivity::Discovery;
        }
        Some(imds)
    }
}

/// Header fields that a command line gives, as far as they tell services apart or open them: by their names in the
/// catalogue, wherever they stand.
fn headers(catalogue: &Catalogue, line: &str) -> Vec<(String, String)> {
    let lower = line.to_ascii_lowercase();
    let mut out: Vec<(String, String)> = Vec::new();
    let required = catalogue.paths().iter().flat_map(|path| &path.entry.required_headers).flat_map(|choice| &choice.0);
    let client = catalogue.endpoints().iter().flat_map(|endpoint| &endpoint.client_headers);
    for rule in client.chain(required) {
        let Some(at) = lower.find(&rule.name.to_ascii_lowercase()) else { continue };
        let after = lower.get(at.saturating_add(rule.name.len())..).unwrap_or_default();
        let after = after.trim_start_matches([':', '=', ' ', '\'', '"', '>', ',']);
        let value = match &rule.value {
            Some(value) if after.starts_with(&value.to_ascii_lowercase()) => value.clone(),
            Some(_) => continue,
            None => "1".to_owned(),
        };
        if !out.iter().any(|(name, known)| *name == rule.name && *known == value) {
            out.push((rule.name.clone(), value));
        }
    }
    out
}

/// The text with the values of session tokens and credentials in header fields blotted out.
fn redact<'t>(catalogue: &Catalogue, text: &'t str) -> Cow<'t, str> {
    let mut out = Cow::Borrowed(text);
    let lower = text.to_ascii_lowercase();
    let sessions = catalogue.endpoints().iter().filter_map(|endpoint| endpoint.session_header.as_ref());
    let mut places: Vec<(usize, usize)> = Vec::new();
    for name in sessions.map(|rule| rule.name.to_ascii_lowercase()).chain(["authorization".to_owned()]) {
        for (at, _) in lower.match_indices(&name) {
            let from = at.saturating_add(name.len());
            let rest = lower.get(from..).unwrap_or_default();
            let value = rest.trim_start_matches([':', '=', ' ', '\'', '"', '>', ',']);
            let start = from.saturating_add(rest.len().saturating_sub(value.len()));
            let is_value = start > from && !value.starts_with('$');
            let length = value.find(['\'', '"', '\n']).unwrap_or(value.len());
            if is_value && length > 0 {
                places.push((start, start.saturating_add(length)));
            }
        }
    }
    places.sort_unstable();
    for (start, end) in places.into_iter().rev() {
        if out.is_char_boundary(start) && out.is_char_boundary(end) {
            out.to_mut().replace_range(start..end.min(text.len()).max(start), "xxxxx");
        }
    }
    out
}

/// The conversation with its process, whose arguments are written without what is secret in them.
fn redacted(catalogue: &Catalogue, conn: Conn, process: &Arc<Process>) -> Conn {
    let args: Vec<String> = process.args.iter().map(|arg| cut(&redact(catalogue, arg), LINE).to_owned()).collect();
    let line = process.command_line.as_ref().map(|line| cut(&redact(catalogue, line), LINE).to_owned());
    if args == process.args && line == process.command_line {
        return conn;
    }
    Conn { process: Some(Arc::new(Process { args, command_line: line, ..Process::clone(process) })), ..conn }
}

/// At most so many bytes of a text.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::panic)]
mod tests;
