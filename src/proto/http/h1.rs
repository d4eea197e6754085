//! HTTP/1 on one connection: two [`Reader`]s, and the queue that joins requests with their responses in order.
//!
//! Responses answer requests in the order of the requests (RFC 9112 section 9.3.2); interim responses are passed over.
//! A response that is finished before its request waits for it. Bounds: [`Limits::pending`](super::Limits::pending) requests and
//! [`Limits::memory`](super::Limits::memory) bytes waiting, [`HOLD`] bytes behind a CONNECT or Upgrade, [`FORKS`] second readings.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::collections::VecDeque;

use super::framing::Framing;
use super::framing::{Kind, content_length, request_framing, response_framing, upgrades_to};
use super::head::Role;
use super::message::{Head, Message, wipe};
use super::parser::Env;
use super::probe::PREFACE;
use super::reader::{Reader, Step, message_memory, wire};
use super::upgrade::Upgrade;
use crate::conn::Bytes;
use crate::stream::{Context, Dir, End};

/// Client bytes kept behind a request that may change the protocol, until its answer tells.
const HOLD: usize = 16 * 1024;
/// Bytes of the body of a response to no known request that are of use: one may still come, if packets are out of order.
const UNASKED: usize = 16 * 1024;
/// Bodies up to this length are captured without asking whether they are of use, which would take longer.
const SMALL: u64 = 2048;
/// Bytes of use of what may lead its reader elsewhere: pages, style sheets, playlists.
const PAGE: usize = 16 * 1024;
/// Second readings of a request alive at the same time.
const FORKS: usize = 2;

/// Exchanges for which a connection that has none under way keeps room.
const FEW: usize = 4;

/// What became of the connection after some bytes.
pub(super) enum Turn {
    /// HTTP/1 goes on.
    Stay,
    /// A CONNECT was accepted: what follows is a stream to `via`, `held` its first client bytes.
    Tunnel { via: Bytes, held: Vec<u8> },
    /// An upgrade to HTTP/2 was accepted: `request` is answered on stream 1.
    Http2 { request: Option<Message>, held: Vec<u8> },
    /// A WebSocket was agreed on; `held`: its first client bytes.
    WebSocket { upgrade: Box<Upgrade>, held: Vec<u8> },
    /// Another protocol was agreed on, or it never was HTTP; `held`: its first client bytes.
    Other { held: Vec<u8> },
}

/// A request waiting for its response; `request` is there once it ended.
struct Open {
    kind: Kind,
    request: Option<Message>,
    response: Option<Message>,
    conflict: bool,
    first_index: u64,
}

/// State of an HTTP/1 connection.
pub(super) struct Http1 {
    client: Reader,
    server: Reader,
    open: VecDeque<Open>,
    /// Requests given up for lack of room: that many responses belong to none in `open`.
    orphans: u64,
    /// Whether the client's current message came in two readings, and the server's.
    conflict: (bool, bool),
    forks: Vec<Reader>,
    /// Client bytes behind a request that may change the protocol.
    held: Vec<u8>,
    /// A response that came before its request (packets out of order in the capture), or without it.
    early: Option<Message>,
    /// Heap bytes of the messages in `open`.
    waiting: usize,
}

impl Http1 {
    pub(super) fn new() -> Self {
        Self {
            client: Reader::new(Role::Request),
            server: Reader::new(Role::Response),
            open: VecDeque::new(),
            orphans: 0,
            conflict: (false, false),
            forks: Vec::new(),
            held: Vec::new(),
            early: None,
            waiting: 0,
        }
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        let early = self.early.as_ref().map_or(0, message_memory);
        let fixed = self.held.capacity().saturating_add(self.waiting).saturating_add(early);
        let queue = self.open.capacity().saturating_mul(size_of::<Open>());
        let readers = self.client.memory().saturating_add(self.server.memory());
        let forks = self.forks.iter().map(Reader::memory).sum::<usize>();
        fixed.saturating_add(queue).saturating_add(readers).saturating_add(forks)
    }

    /// Feeds bytes; says how many of them were used, and whether the protocol changes behind them.
    pub(super) fn data(&mut self, dir: Dir, bytes: &[u8], at: Context, env: &mut Env<'_>) -> (usize, Turn) {
        let (used, passed) = match dir {
            Dir::ToServer => ((bytes.len(), self.requests(bytes, at, env)), &mut self.client.passed),
            Dir::ToClient => (self.responses(bytes, at, env), &mut self.server.passed),
        };
        env.emit_body(dir, passed, at);
        used
    }

    /// Feeds a stretch of which two readings remain: both are judged, the answer goes to `taken`.
    pub(super) fn conflict(
        &mut self,
        dir: Dir,
        taken: &[u8],
        other: &[u8],
        at: Context,
        env: &mut Env<'_>,
    ) -> (usize, Turn) {
        if dir == Dir::ToClient {
            self.conflict.1 = true;
            let turn = self.data(dir, taken, at, env);
            self.conflict.1 = self.server.is_reading();
            return turn;
        }
        let mut fork = self.client.clone();
        self.conflict.0 = true;
        let turn = self.data(dir, taken, at, env);
        self.conflict.0 = self.client.is_reading();
        if self.forks.len() >= FORKS {
            env.counters.forks_refused = env.counters.forks_refused.saturating_add(1);
        } else if follow(&mut fork, other, at, env) {
            self.forks.push(fork);
        }
        turn
    }

    /// Judges a second reading of the last bytes of a direction: of the client's, each request that it makes is written
    /// without an answer; the answer stays with the first reading.
    pub(super) fn reread(&mut self, dir: Dir, other: &[u8], at: Context, env: &mut Env<'_>) {
        if dir == Dir::ToClient {
            self.conflict.1 |= self.server.is_reading();
            return;
        }
        let Some(mut tail) = self.client.wire() else { return };
        self.conflict.0 |= self.client.is_reading();
        for open in self.open.iter_mut().rev() {
            if tail.len() >= other.len() {
                break;
            }
            let Some(request) = &open.request else { continue };
            let Some(mut wire) = wire(request) else { return };
            open.conflict = true;
            wire.append(&mut tail);
            tail = wire;
        }
        // more bytes than the messages have: blank lines before them, or what was answered already
        tail.truncate(tail.len().saturating_sub(other.len()));
        tail.extend_from_slice(other);
        let mut fork = Reader::new(Role::Request);
        if follow(&mut fork, &tail, at, env) && self.forks.len() < FORKS {
            self.forks.push(fork);
        }
        wipe(&mut tail);
    }

    /// Takes note of missing bytes.
    pub(super) fn gap(&mut self, dir: Dir, len: u64, cut: bool, env: &mut Env<'_>) {
        match dir {
            Dir::ToServer => {
                self.forks.clear();
                let framed = self.client.is_framed();
                if let Some(message) = self.client.gap(len, cut) {
                    if !framed {
                        self.enqueue(Kind::of(&message.head), message.first_index);
                    }
                    self.request_done(message, env);
                }
            }
            Dir::ToClient => {
                let framed = self.server.is_framed();
                if let Some(message) = self.server.gap(len, cut) {
                    if !framed {
                        self.align(message.first_index, env);
                    }
                    self.response_done(message, env);
                }
            }
        }
    }

    /// One direction ended.
    pub(super) fn end(&mut self, dir: Dir, end: End, env: &mut Env<'_>) {
        match dir {
            Dir::ToServer => {
                self.forks.clear();
                let framed = self.client.is_framed();
                if let Some(message) = self.client.end(end) {
                    if !framed {
                        self.enqueue(Kind::of(&message.head), message.first_index);
                    }
                    self.request_done(message, env);
                }
            }
            Dir::ToClient => {
                if let Some(message) = self.server.end(end) {
                    self.response_done(message, env);
                }
                self.flush(env);
            }
        }
    }

    /// Nothing more will come: everything open is written.
    pub(super) fn finish(&mut self, env: &mut Env<'_>) {
        self.end(Dir::ToServer, End::Lost, env);
        self.end(Dir::ToClient, End::Lost, env);
        if let Some(response) = self.early.take() {
            env.emit(None, Some(response), false, None);
        }
    }

    /// Whether the answer to a request decides what the client's further bytes are; if so, and no answer will come,
    /// [`Http1::give_up_waiting`] settles it.
    pub(super) fn holds(&self) -> bool {
        self.open.back().is_some_and(|open| {
            open.request.is_some()
                && matches!(open.kind, Kind::Connect | Kind::Upgrade { .. })
                && open.response.is_none()
        })
    }

    /// No answer will be seen: what is held tells whether it would have been a yes.
    pub(super) fn give_up_waiting(&mut self) -> Turn {
        if self.held.is_empty() {
            return Turn::Stay;
        }
        match self.open.back() {
            Some(Open { kind: Kind::Connect, request: Some(request), .. }) => {
                Turn::Tunnel { via: request.head.target().into(), held: std::mem::take(&mut self.held) }
            }
            Some(Open { kind: Kind::Upgrade { h2c: true }, .. }) if self.held.starts_with(PREFACE) => {
                let request = self.open.pop_back().and_then(|open| open.request);
                Turn::Http2 { request, held: std::mem::take(&mut self.held) }
            }
            _ => Turn::Stay,
        }
    }

    fn requests(&mut self, mut bytes: &[u8], at: Context, env: &mut Env<'_>) -> Turn {
        self.forks.retain_mut(|fork| follow(fork, bytes, at, env));
        let refused = self.open.back().is_some_and(|open| open.response.is_some());
        if refused && self.client.awaits_body() && self.client.begins_with(bytes) {
            // answered before its body (Expect: 100-continue), which then was not sent
            if let Some(message) = self.client.cut_off(false) {
                self.request_done(message, env);
            }
        }
        if !self.holds() {
            self.client.chunk_start(bytes);
        }
        loop {
            if self.holds() {
                return self.hold(bytes, at, env);
            }
            match self.client.step(&mut bytes, at, env.limits) {
                Step::More => break,
                Step::Junk => env.counters.junk = env.counters.junk.saturating_add(1),
                Step::Done(message) => self.request_done(message, env),
                Step::Head => {
                    let Some(head) = self.client.head() else { break };
                    let framing = request_framing(head);
                    let (kind, first_index) = (Kind::of(head), self.client.first_index());
                    self.enqueue(kind, first_index);
                    if let Some(message) = self.client.frame(framing) {
                        self.request_done(message, env);
                    }
                }
            }
        }
        if self.client.is_hopeless() && self.server.seen() == 0 { Turn::Other { held: Vec::new() } } else { Turn::Stay }
    }

    fn responses(&mut self, bytes: &[u8], at: Context, env: &mut Env<'_>) -> (usize, Turn) {
        let mut rest = bytes;
        if self.server.is_open_ended() && self.open.len() > 1 && self.server.begins_with(bytes) {
            // an answer without length on a connection that goes on was meant to be empty
            if let Some(message) = self.server.cut_off(true) {
                self.response_done(message, env);
            }
        }
        self.server.chunk_start(bytes);
        loop {
            match self.server.step(&mut rest, at, env.limits) {
                Step::More => break,
                Step::Junk => env.counters.junk = env.counters.junk.saturating_add(1),
                Step::Done(message) => {
                    self.response_done(message, env);
                    if let Some(turn) = self.release(env) {
                        return (bytes.len().saturating_sub(rest.len()), turn);
                    }
                }
                Step::Head => {
                    if let Some(turn) = self.response_head(env) {
                        return (bytes.len().saturating_sub(rest.len()), turn);
                    }
                }
            }
        }
        let dead = self.server.is_hopeless() && self.client.seen() == 0;
        (bytes.len(), if dead { Turn::Other { held: Vec::new() } } else { Turn::Stay })
    }

    /// Frames the response whose head is known by the request it answers.
    fn response_head(&mut self, env: &mut Env<'_>) -> Option<Turn> {
        self.align(self.server.first_index(), env);
        let head = self.server.head()?;
        let status = head.status().unwrap_or_default();
        let kind = self.answered().map(|open| open.kind);
        let switches = match kind {
            Some(Kind::Connect) => (200..300).contains(&status),
            Some(Kind::Upgrade { .. }) | None => status == 101,
            _ => false,
        };
        if !switches && (100..200).contains(&status) {
            drop(self.server.frame(Framing::None));
            return None;
        }
        let framing = if switches || kind == Some(Kind::Head) { Framing::None } else { response_framing(head, status) };
        let of_use = match self.answered().map(|open| open.request.as_ref()) {
            _ if matches!(framing, Framing::Length(..=SMALL)) => usize::MAX,
            Some(Some(request)) if !env.reads_response(request) => {
                if may_lead_on(head) {
                    PAGE
                } else {
                    0
                }
            }
            Some(_) => usize::MAX,
            None => UNASKED,
        };
        self.server.limit_body(of_use);
        let mut message = self.server.frame(framing)?;
        if !switches && kind != Some(Kind::Head) {
            message.body.len = content_length(&message.head).unwrap_or_default();
        }
        if switches {
            return Some(self.switch(kind, message, env));
        }
        self.response_done(message, env);
        self.release(env)
    }

    /// Protocol change agreed on by `response`.
    fn switch(&mut self, kind: Option<Kind>, response: Message, env: &mut Env<'_>) -> Turn {
        let held = std::mem::take(&mut self.held);
        let target =
            self.answered().and_then(|open| open.request.as_ref()).map(|request| Bytes::from(request.head.target()));
        if kind == Some(Kind::Upgrade { h2c: true }) && upgrades_to(&response.head, b"h2c") {
            let request = self.open.pop_front().and_then(|open| open.request);
            return Turn::Http2 { request, held };
        }
        let socket = upgrades_to(&response.head, b"websocket").then(|| {
            let request = self.answered().and_then(|open| open.request.as_ref());
            Box::new(Upgrade::new(request.map(|request| &request.head), &response.head))
        });
        self.response_done(response, env);
        if let Some(upgrade) = socket {
            return Turn::WebSocket { upgrade, held };
        }
        match (kind, target) {
            (Some(Kind::Connect), Some(via)) => Turn::Tunnel { via, held },
            _ => Turn::Other { held },
        }
    }

    /// After a refusal the bytes that were held are requests.
    fn release(&mut self, env: &mut Env<'_>) -> Option<Turn> {
        if self.held.is_empty() || self.holds() {
            return None;
        }
        let held = std::mem::take(&mut self.held);
        let at = Context { time: self.client.last_time(), index: self.client.first_index() };
        match self.requests(&held, at, env) {
            Turn::Stay => None,
            turn => Some(turn),
        }
    }

    /// Keeps client bytes until the answer tells what they are. A client that goes on with a request expects no upgrade.
    fn hold(&mut self, bytes: &[u8], at: Context, env: &mut Env<'_>) -> Turn {
        if self.held.len().saturating_add(bytes.len()) > HOLD {
            let turn = self.give_up_waiting();
            return match turn {
                Turn::Stay => Turn::Other { held: std::mem::take(&mut self.held) },
                turn => turn,
            };
        }
        self.held.extend_from_slice(bytes);
        match self.open.back_mut() {
            Some(open) if open.kind != Kind::Connect && self.client.begins_with(&self.held) => open.kind = Kind::Plain,
            _ => return Turn::Stay,
        }
        let held = std::mem::take(&mut self.held);
        self.requests(&held, at, env)
    }

    /// The request that the next response answers.
    fn answered(&self) -> Option<&Open> {
        if self.orphans > 0 {
            return None;
        }
        self.open.iter().find(|open| open.response.is_none())
    }

    /// After a loss on the server's side: of several open requests that came one after the other (not in one packet),
    /// only the last can be the one answered now, unless the client pipelines.
    fn align(&mut self, response_index: u64, env: &mut Env<'_>) {
        if !self.server.after_gap() {
            return;
        }
        self.orphans = 0;
        while let [first, second, ..] = self.open.make_contiguous() {
            if first.response.is_some()
                || second.first_index > response_index
                || first.first_index == second.first_index
            {
                break;
            }
            self.pop(env);
        }
    }

    fn enqueue(&mut self, kind: Kind, first_index: u64) {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(1); // few clients ask again before they are answered
        }
        self.open.push_back(Open { kind, request: None, response: None, conflict: false, first_index });
    }

    fn request_done(&mut self, message: Message, env: &mut Env<'_>) {
        let conflict = std::mem::take(&mut self.conflict.0);
        if let Some(early) = self.early.take() {
            let answers =
                self.open.len() == 1 && message.first <= early.first && self.open.iter().all(|o| o.response.is_none());
            if answers {
                self.waiting = self.waiting.saturating_add(message_memory(&early));
                if let Some(open) = self.open.back_mut() {
                    open.response = Some(early);
                }
            } else {
                env.emit(None, Some(early), false, None);
            }
        }
        self.waiting = self.waiting.saturating_add(message_memory(&message));
        if let Some(open) = self.open.back_mut() {
            open.request = Some(message);
            open.conflict |= conflict;
        }
        self.drain(env);
        while self.open.len() > env.limits.pending.max(1) || self.waiting > env.limits.memory {
            env.counters.requests_evicted = env.counters.requests_evicted.saturating_add(1);
            self.orphans = self.orphans.saturating_add(1);
            if !self.pop(env) {
                break;
            }
        }
    }

    fn response_done(&mut self, message: Message, env: &mut Env<'_>) {
        let conflict = std::mem::take(&mut self.conflict.1);
        let open = if self.orphans > 0 { None } else { self.open.iter_mut().find(|open| open.response.is_none()) };
        match open {
            Some(open) => {
                self.waiting = self.waiting.saturating_add(message_memory(&message));
                open.conflict |= conflict;
                open.response = Some(message);
                self.drain(env);
            }
            None => {
                let orphan = self.orphans > 0;
                self.orphans = self.orphans.saturating_sub(1);
                let earlier = if orphan { Some(message) } else { self.early.replace(message) };
                if let Some(response) = earlier {
                    env.emit(None, Some(response), conflict, None);
                }
            }
        }
    }

    /// Writes the exchanges at the front that are complete.
    fn drain(&mut self, env: &mut Env<'_>) {
        while self.open.front().is_some_and(|open| open.request.is_some() && open.response.is_some()) {
            self.pop(env);
        }
    }

    /// Writes the exchange at the front as it is; `false` if there was none to write.
    fn pop(&mut self, env: &mut Env<'_>) -> bool {
        let Some(open) = self.open.pop_front() else { return false };
        let held = |message: &Option<Message>| message.as_ref().map_or(0, message_memory);
        self.waiting = self.waiting.saturating_sub(held(&open.request)).saturating_sub(held(&open.response));
        if self.open.is_empty() && self.open.capacity() > FEW {
            // The connection may be idle for an hour from now on: a burst of requests must not cost its room for so long.
            self.open = VecDeque::with_capacity(1);
        }
        if open.request.is_some() || open.response.is_some() {
            env.emit(open.request, open.response, open.conflict, None);
        }
        true
    }

    fn flush(&mut self, env: &mut Env<'_>) {
        let reading = self.client.is_reading();
        while self.open.len() > usize::from(reading) && self.pop(env) {}
    }
}

/// Feeds a second reading of the client's bytes; `false` once its message ended (and was written) or came to nothing.
fn follow(fork: &mut Reader, bytes: &[u8], at: Context, env: &mut Env<'_>) -> bool {
    let goes_on = read_fork(fork, bytes, at, env);
    wipe(&mut fork.passed); // the first reading is searched
    goes_on
}

fn read_fork(fork: &mut Reader, mut bytes: &[u8], at: Context, env: &mut Env<'_>) -> bool {
    loop {
        let done = match fork.step(&mut bytes, at, env.limits) {
            Step::More => return fork.is_reading(),
            Step::Junk => return false,
            Step::Done(message) => Some(message),
            Step::Head => {
                let Some(framing) = fork.head().map(request_framing) else { return false };
                fork.frame(framing)
            }
        };
        if let Some(message) = done {
            env.emit(Some(message), None, true, None);
            if bytes.is_empty() {
                return false;
            }
        }
    }
}

/// Whether an answer is a document that makes whoever renders it load others.
fn may_lead_on(head: &Head) -> bool {
    let content_type = head.field("content-type").unwrap_or_default();
    let is = |kind: &str| content_type.get(..kind.len()).is_some_and(|own| own.eq_ignore_ascii_case(kind.as_bytes()));
    [
        "text/html",
        "text/xml",
        "text/css",
        "application/xml",
        "application/xhtml",
        "image/svg",
        "application/vnd.apple",
        "audio/mpegurl",
    ]
    .into_iter()
    .any(is)
}
