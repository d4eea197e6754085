//! What a stream carries: the chunks of one connection in, what its innermost layer says out.
//!
//! A stream's first bytes tell what it is, on any port ([`probe`]). Some protocols carry others: CONNECT and SOCKS end in a
//! tunnel, a PROXY header stands before anything at all, WebSocket puts it into frames. What they carry goes round again, as
//! tunnels do in `decode`, down to [`MAX_DEPTH`]. Decrypted TLS would be one more.
//!
//! In the end a stream is HTTP or DNS, or bytes of another protocol that are handed on to be searched ([`Found::Text`]), or
//! encrypted and of no interest. Bounds: those of each layer's parser.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod probe;
mod proxy;
mod simple;
mod socks;
mod text;
mod unknown;
mod websocket;

use super::http::later::Later;
use super::http::{Env, Http, Message, Output, Turn};
use super::{dns, http};
use crate::conn::{Bytes, Conn, Endpoint};
use crate::stream::{Chunk, Context, Dir};

use proxy::Header;
use simple::Simple;
use socks::Socks;
use text::Text;
use unknown::{Judgement, Unknown};
use websocket::WebSocket;

/// How deep layers are opened.
const MAX_DEPTH: u8 = 8;

/// The layers of one connection. A few words; what they hold is allocated when it is needed.
#[derive(Default)]
pub struct Layers {
    layer: Layer,
    outer: Outer,
}

/// What a layer's bytes are read as.
enum Layer {
    /// Nothing tells yet.
    Unknown(Unknown),
    Http(Box<Http>),
    Dns(Box<dns::TcpParser>),
    Socks(Box<Socks>),
    Proxy(Box<Header>),
    WebSocket(Box<WebSocket>),
    Simple(Box<Simple>),
    /// Another protocol in clear text, or in part.
    Text(Box<Text>),
    /// Encrypted, or too deep.
    Ignored,
}

impl Default for Layer {
    fn default() -> Self {
        Self::Unknown(Unknown::default())
    }
}

/// What the layers further out say of the one that is read.
#[derive(Default)]
struct Outer {
    depth: u8,
    /// The side that was taken for the client is the one that answers.
    swapped: bool,
    /// The target that CONNECT or SOCKS named, as `host:port`.
    via: Option<Bytes>,
    /// The client as a PROXY header names it.
    origin: Option<Box<Endpoint>>,
}

/// A chunk, and where it stands.
#[derive(Clone, Copy)]
pub struct Delivery<'c> {
    /// Direction.
    pub dir: Dir,
    /// Bytes, or what became of them.
    pub chunk: Chunk<'c>,
    /// The packet that made it deliverable.
    pub at: Context,
    /// The capture has the beginning of the connection (a SYN), so that `dir` is certain and only first bytes count.
    pub from_start: bool,
}

/// What layers need of their surroundings while they are fed.
pub struct Sink<'a> {
    /// Says who talks; asked once per transaction.
    pub conn: &'a dyn Fn() -> Conn,
    /// Ports of both ends: a well-known one helps to tell DNS.
    pub ports: [u16; 2],
    /// Bounds of HTTP.
    pub limits: &'a http::Limits,
    /// Whether the response to a request may tell anything by its body: most bodies are bulk that nobody reads.
    pub keeps_body: &'a dyn Fn(&Message) -> bool,
    /// Whether [`Found::Text`] is of use by now.
    pub searches: bool,
    /// Whether the server's end is a metadata service's.
    pub serves_metadata: bool,
    /// Running number of the connection's next HTTP exchange.
    pub ordinal: &'a mut u32,
    /// Counters of HTTP.
    pub counters: &'a mut http::Counters,
    /// Joins DNS messages.
    pub dns: &'a mut dns::Tracker,
    /// Takes what is found.
    pub out: &'a mut dyn FnMut(Found<'_>),
}

/// What is found in a connection.
#[expect(clippy::large_enum_variant, reason = "handed on by reference or moved once, and most are exchanges")]
pub enum Found<'f> {
    /// An HTTP exchange.
    Http(http::Transaction),
    /// A DNS transaction, and the number of its first packet.
    Dns(dns::Transaction, u64),
    /// Bytes of another protocol, cut between words.
    Text {
        /// Who sent them.
        dir: Dir,
        /// The bytes.
        bytes: &'f [u8],
        /// Where they ended.
        at: Context,
    },
    /// A message of a WebSocket's client.
    Message {
        /// The connection.
        conn: Conn,
        /// The request that was upgraded, as far as it says where messages go.
        request: &'f http::Head,
        /// The message, as far as it is kept.
        bytes: &'f [u8],
        /// What there is of the rest.
        later: Option<Box<Later>>,
        /// Where it ended.
        at: Context,
    },
    /// TLS begins.
    Tls,
}

/// What follows a layer.
enum Next {
    /// It goes on.
    Stay,
    /// It is over; from here on it carries something else, of which these are the first bytes of either side.
    Inner { client: Vec<u8>, server: Vec<u8> },
    /// No such protocol, or none that can be read any more; what follows may be searched.
    Text,
    /// Nothing of interest will come.
    Nothing,
}

impl Layers {
    /// Takes the next chunk.
    pub fn feed(&mut self, given: Delivery<'_>, sink: &mut Sink<'_>) {
        let dir = self.outer.turn(given.dir);
        let next = match &mut self.layer {
            Layer::Unknown(_) => return self.unknown(given, sink),
            Layer::Http(_) => return self.http(dir, given, sink),
            Layer::Dns(parser) => {
                let Sink { dns, out, .. } = sink;
                let conn = self.outer.conn(sink.conn);
                parser.chunk(dir, given.chunk, given.at, &conn, dns, &mut |tx, first| out(Found::Dns(tx, first)));
                Next::Stay
            }
            Layer::Socks(socks) => match bytes_of(given.chunk) {
                Some(bytes) => socks.feed(dir, bytes, &mut self.outer.via),
                None => lost(given.chunk),
            },
            Layer::Proxy(header) => match bytes_of(given.chunk) {
                Some(bytes) => header.feed(dir, bytes, &mut self.outer.origin),
                None => lost(given.chunk),
            },
            Layer::WebSocket(socket) => {
                socket.feed(dir, given, sink);
                if socket.wants_more() { Next::Stay } else { Next::Nothing }
            }
            Layer::Simple(simple) => {
                simple.feed(dir, given.chunk, given.at, &self.outer, sink);
                Next::Stay
            }
            Layer::Text(text) => text.feed(given, sink),
            Layer::Ignored => Next::Stay,
        };
        self.follow(next, given, sink);
    }

    /// The connection is over for us (end of input, idle, replaced): what is open is handed on. Can be called after the
    /// ends of both directions were fed; hands on nothing twice.
    pub fn finish(&mut self, at: Context, sink: &mut Sink<'_>) {
        let given = Delivery { dir: Dir::ToClient, chunk: Chunk::Reread { other: &[] }, at, from_start: true };
        self.settle(given, sink);
        match std::mem::replace(&mut self.layer, Layer::Ignored) {
            Layer::Http(mut http) => self.with_env(sink, |env| http.finish(env)),
            Layer::WebSocket(mut socket) => socket.finish(at, sink),
            Layer::Text(mut text) => text.finish(at, sink),
            Layer::Simple(mut simple) => simple.finish(&self.outer, sink),
            Layer::Unknown(unknown) => unknown.finish(self.outer.turn(Dir::ToServer), at, sink),
            Layer::Dns(_) | Layer::Socks(_) | Layer::Proxy(_) | Layer::Ignored => {}
        }
    }

    /// Whether further chunks can come to anything; if not, reassembly can stop.
    pub fn wants_more(&self) -> bool {
        !matches!(self.layer, Layer::Ignored)
    }

    /// Whether it is a protocol that is read.
    pub fn is_read(&self) -> bool {
        matches!(self.layer, Layer::Http(_) | Layer::Dns(_) | Layer::Simple(_))
    }

    /// Bytes held on the heap, roughly.
    pub fn memory(&self) -> usize {
        match &self.layer {
            Layer::Unknown(unknown) => unknown.memory(),
            Layer::Http(http) => http.memory(),
            Layer::Dns(parser) => parser.memory(),
            Layer::Socks(socks) => socks.memory(),
            Layer::Proxy(header) => header.memory(),
            Layer::WebSocket(socket) => socket.memory(),
            Layer::Simple(simple) => simple.memory(),
            Layer::Text(text) => text.memory(),
            Layer::Ignored => 0,
        }
    }

    /// What was sent so far is whole: the last word does not go on in what follows.
    fn pause(&mut self, dir: Dir, at: Context, sink: &mut Sink<'_>) {
        match &mut self.layer {
            Layer::Text(text) => text.flush(dir, at, sink),
            Layer::Unknown(unknown) => unknown.pause(dir, at, sink),
            _ => {}
        }
    }

    /// For what this layer carries.
    fn inner(&self) -> Self {
        let Outer { depth, swapped, via, origin } = &self.outer;
        let depth = depth.saturating_add(1);
        let layer = if depth > MAX_DEPTH { Layer::Ignored } else { Layer::default() };
        Self { layer, outer: Outer { depth, swapped: *swapped, via: via.clone(), origin: origin.clone() } }
    }

    fn unknown(&mut self, given: Delivery<'_>, sink: &mut Sink<'_>) {
        let dir = self.outer.turn(given.dir);
        let Layer::Unknown(unknown) = &mut self.layer else { return };
        let (swapped, [client, server]) = match unknown.judge(dir, given, self.outer.depth > 0, sink) {
            Judgement::Wait => return,
            Judgement::Nothing => return self.layer = Layer::Ignored,
            Judgement::Text { text, held } => {
                self.layer = Layer::Text(text);
                (false, [held, Vec::new()])
            }
            Judgement::Is { kind, swapped, held } => {
                self.layer = Layer::new(kind);
                (swapped, held)
            }
        };
        let sides = [self.outer.turn(Dir::ToServer), self.outer.turn(Dir::ToClient)];
        self.outer.swapped ^= swapped;
        self.held(sides.into_iter().zip([client, server]), given, sink);
        self.feed(given, sink);
    }

    /// Takes bytes that were held: directions as the connection has them.
    fn held(&mut self, held: impl Iterator<Item = (Dir, Vec<u8>)>, given: Delivery<'_>, sink: &mut Sink<'_>) {
        for (dir, bytes) in held.filter(|(_, bytes)| !bytes.is_empty()) {
            self.feed(Delivery { dir, chunk: Chunk::Data(&bytes), ..given }, sink);
        }
    }

    fn http(&mut self, dir: Dir, given: Delivery<'_>, sink: &mut Sink<'_>) {
        if matches!(given.chunk, Chunk::End(_)) && dir == Dir::ToClient {
            self.settle(given, sink);
        }
        let Layer::Http(mut http) = std::mem::take(&mut self.layer) else { return };
        let (turn, rest) = self.with_env(sink, |env| http.feed(dir, given.chunk, given.at, env));
        self.turn(http, turn, (dir, rest), given, sink);
    }

    /// Client bytes that wait for an answer which will not come are judged without it.
    fn settle(&mut self, given: Delivery<'_>, sink: &mut Sink<'_>) {
        if matches!(self.layer, Layer::Http(_))
            && let Layer::Http(mut http) = std::mem::take(&mut self.layer)
        {
            let turn = self.with_env(sink, |env| http.settle(given.at, env));
            self.turn(http, turn, (Dir::ToClient, &[]), given, sink);
        }
    }

    /// Puts HTTP back in its place, or what follows it, which begins with the `rest` of the present chunk.
    fn turn(
        &mut self,
        mut http: Box<Http>,
        turn: Turn,
        (dir, rest): (Dir, &[u8]),
        given: Delivery<'_>,
        sink: &mut Sink<'_>,
    ) {
        if matches!(turn, Turn::Stay) {
            return self.layer = Layer::Http(http);
        }
        self.with_env(sink, |env| http.finish(env));
        let (held, socket) = match turn {
            Turn::Stay => return,
            Turn::Tunnel { via, held } => {
                self.outer.via = Some(via);
                (held, None)
            }
            Turn::WebSocket { upgrade, held } => (held, Some(upgrade)),
            Turn::Other { held } => (held, None),
        };
        let layer = match socket {
            Some(upgrade) => Layer::WebSocket(Box::new(WebSocket::new(upgrade, self.inner()))),
            None => Layer::default(),
        };
        let (mut client, mut server) = (held, Vec::new());
        match dir {
            Dir::ToServer => client.extend_from_slice(rest),
            Dir::ToClient => server.extend_from_slice(rest),
        }
        self.open(layer, [client, server], given, sink);
    }

    fn follow(&mut self, next: Next, given: Delivery<'_>, sink: &mut Sink<'_>) {
        match next {
            Next::Stay => {}
            Next::Nothing => self.layer = Layer::Ignored,
            Next::Text => self.layer = Layer::Text(Box::default()),
            Next::Inner { client, server } => self.open(Layer::default(), [client, server], given, sink),
        }
    }

    /// Puts a layer in the place of the one that carried it, with its first bytes of either side.
    fn open(&mut self, layer: Layer, first: [Vec<u8>; 2], given: Delivery<'_>, sink: &mut Sink<'_>) {
        self.outer.depth = self.outer.depth.saturating_add(1);
        self.layer = if self.outer.depth > MAX_DEPTH { Layer::Ignored } else { layer };
        let sides = [self.outer.turn(Dir::ToServer), self.outer.turn(Dir::ToClient)];
        self.held(sides.into_iter().zip(first), given, sink);
    }

    /// Runs an HTTP parser in its surroundings.
    fn with_env<T>(&self, sink: &mut Sink<'_>, run: impl FnOnce(&mut Env<'_>) -> T) -> T {
        let Sink { conn, limits, keeps_body, ordinal, counters, out, .. } = sink;
        run(&mut Env {
            limits,
            keeps_body: *keeps_body,
            counters,
            conn: &|| self.outer.conn(*conn),
            via: self.outer.via.as_ref(),
            ordinal,
            out: &mut |output| match output {
                Output::Exchange(tx) => out(Found::Http(tx)),
                Output::Body { dir, bytes, at } => out(Found::Text { dir: self.outer.turn(dir), bytes, at }),
            },
        })
    }
}

impl Layer {
    fn new(kind: probe::Kind) -> Self {
        match kind {
            probe::Kind::Http(kind) => Self::Http(Box::new(Http::new(kind))),
            probe::Kind::Dns => Self::Dns(Box::default()),
            probe::Kind::Socks => Self::Socks(Box::default()),
            probe::Kind::Proxy => Self::Proxy(Box::default()),
            probe::Kind::Simple => Self::Simple(Box::default()),
        }
    }
}

impl Outer {
    /// A direction of the connection as this layer has it, and the other way round.
    fn turn(&self, dir: Dir) -> Dir {
        if self.swapped { dir.flip() } else { dir }
    }

    /// The connection as the innermost layer has it.
    fn conn(&self, conn: &dyn Fn() -> Conn) -> Conn {
        let conn = if self.swapped { conn().turned() } else { conn() };
        Conn { origin: self.origin.as_deref().copied().or(conn.origin), ..conn }
    }
}

/// The bytes that a receiver most likely took.
fn bytes_of(chunk: Chunk<'_>) -> Option<&[u8]> {
    match chunk {
        Chunk::Data(bytes) | Chunk::Conflict { taken: bytes, .. } => Some(bytes),
        Chunk::Reread { .. } | Chunk::Gap { .. } | Chunk::End(_) => None,
    }
}

/// A handshake that lost bytes cannot be followed.
fn lost(chunk: Chunk<'_>) -> Next {
    if matches!(chunk, Chunk::Gap { .. }) { Next::Text } else { Next::Stay }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;
