//! What each client did before in this run, and what that says about its present request: the signals that need
//! memory, whether an SDK or a known agent would have asked like this, and whether it walks the tree.
//!
//! Bounded by clients, by kinds of request per client and by paths per walk; what is forgotten only makes a client look
//! new again. There may be many clients, most of which ask three things and are not heard of again: one takes little room.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::pool::Pool;
use super::sets::{Set, Sets};
use super::table::Table;
use crate::alert::{ChainLink, HttpSubject};
use crate::catalogue::{Agent, Catalogue};
use crate::conn::Endpoint;
use crate::detect::{Imds, Leg, Sensitivity, Signal, Signals, TokenHash};
use crate::id::EventId;
use crate::packet::Timestamp;
use crate::proto::http;

/// Most links of a walk that its alert lists.
const LINKS: usize = 16;
/// Directories read and followed down that no SDK does in one go.
const WALK_DIRECTORIES: usize = 3;
/// Directories followed down and paths missed together.
const WALK_STEPS: usize = 4;
/// Longest User-Agent and path of which is remembered whose they are, in bytes.
const TEXT: usize = 512;
/// Most clients that one session token is known to have been issued to (the legs of a proxied request).
const HOLDERS: usize = 4;

/// All clients of the run, and the session tokens that were issued to them.
#[derive(Debug)]
pub struct Clients {
    clients: Table<IpAddr, Client>,
    tokens: Table<TokenHash, Session>,
    callers: Pool<Caller>,
    words: Pool<Words>,
    /// Hashes what is remembered of clients.
    seed: RandomState,
    /// Quiet time after which a walk counts as over, in nanoseconds.
    window: i64,
}

/// What one request means in the light of what came before.
#[derive(Debug, Default)]
pub struct Habit {
    /// Signals to add.
    pub signals: Signals,
    /// The same client did the same in an SDK's way before.
    pub sdk_before: bool,
    /// A known agent reads this path, and sends this User-Agent: nothing that any tool sends.
    pub agent: bool,
    /// The request completes a walk of the tree: the steps so far.
    pub walk: Option<Vec<ChainLink>>,
}

/// One client.
#[derive(Debug, Default)]
struct Client {
    /// Whose services it used, and whether another's too.
    provider: Option<&'static str>,
    multi_cloud: bool,
    /// It used a session token.
    v2: bool,
    /// It asked for a session token.
    asked_token: bool,
    sets: Sets,
    walk: Walk,
}

/// A walk in progress, beside its [`Sets`].
#[derive(Debug, Default)]
struct Walk {
    last: Timestamp,
    steps: Vec<Step>,
}

/// A request of a walk: what its link in a chain is made of, should it ever be asked for.
#[derive(Debug)]
struct Step {
    id: EventId,
    start: Timestamp,
    http: Arc<HttpSubject>,
    source: Endpoint,
    destination: Endpoint,
}

impl Step {
    fn link(&self) -> ChainLink {
        ChainLink {
            id: self.id,
            time: self.start,
            what: "request",
            source: self.source,
            destination: self.destination,
            url: self.http.url(&self.destination).into(),
        }
    }
}

/// Who sends a User-Agent.
#[derive(Debug)]
struct Caller {
    user_agent: Box<[u8]>,
    /// Known agents that claim it.
    agents: Vec<&'static Agent>,
}

/// What the text of a request means: that takes some work, and is the same for many requests.
#[derive(Debug)]
struct Words {
    http: Arc<HttpSubject>,
    user_agent: Box<[u8]>,
    path: Box<str>,
    /// Hashes of the path and of the one above it.
    hashes: (u64, u64),
    /// Known agents that call themselves so and read this path.
    agents: Vec<&'static Agent>,
}

/// A session token of a metadata service.
#[derive(Debug)]
struct Session {
    holders: [Option<IpAddr>; HOLDERS],
    /// Until when it is valid.
    until: Timestamp,
}

/// One request to a metadata service.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The exchange.
    pub tx: &'a http::Transaction,
    /// What the matcher says of it.
    pub imds: &'a Imds,
    /// Its User-Agent; empty if it sent none.
    pub user_agent: &'a [u8],
    /// First byte of the request.
    pub start: Timestamp,
    /// The exchange as subjects tell it.
    pub http: &'a Arc<HttpSubject>,
    /// `event.id` of the exchange.
    pub event_id: EventId,
}

impl Clients {
    /// Room for `limit` clients and as many session tokens.
    pub fn new(limit: usize, window: i64) -> Self {
        Self {
            clients: Table::new(limit),
            tokens: Table::new(limit),
            callers: Pool::default(),
            words: Pool::default(),
            seed: RandomState::default(),
            window,
        }
    }

    /// Entries that made room for others.
    pub fn evicted(&self) -> u64 {
        self.clients.evicted + self.tokens.evicted
    }

    /// Learns from a request.
    pub fn learn(&mut self, request: Request<'_>, catalogue: &Catalogue) -> Habit {
        let Request { tx, imds, start, .. } = request;
        let ip = tx.conn.client.ip;
        let words = self.words(request, catalogue);
        let (agent, walks) = agent(request, &words.agents);
        let mut habit = Habit { agent, ..Habit::default() };
        self.session(ip, imds, start, &mut habit.signals);
        let hash = |parts: &[&str]| self.seed.hash_one(parts);
        let (path, parent) = words.hashes;
        let client = self.clients.entry(ip, Client::default);
        client.over_time(imds, hash, &mut habit.signals);
        if is_impostor(request, client) {
            habit.signals.add(Signal::ClaimedIdentityMismatch);
        }
        if is_sdk(request, imds.signals.union(habit.signals), client, parent) {
            habit.signals.add(Signal::SdkPattern);
            let scope = imds.credential.as_ref().and_then(|credential| credential.scope.as_deref());
            habit.sdk_before =
                !client.sets.add(Set::Sdk, hash(&[imds.provider, &imds.path, scope.unwrap_or_default()]));
        }
        client.asked_token |= imds.sensitivity == Sensitivity::Token;
        client.v2 |= imds.session_token.is_some();
        client.sets.add(Set::Paths, path);
        if !walks {
            habit.walk = client.walk(request, (path, parent), self.window);
        }
        habit
    }

    fn words(&mut self, request: Request<'_>, catalogue: &Catalogue) -> Arc<Words> {
        let Self { callers, words, seed, .. } = self;
        let (http, user_agent, path) = (request.http, request.user_agent, request.imds.path.as_str());
        let mut make = || {
            let called = caller(callers, user_agent, catalogue);
            Words {
                http: http.clone(),
                user_agent: user_agent.into(),
                path: path.into(),
                hashes: (seed.hash_one(path), seed.hash_one(parent(path))),
                agents: called.agents.iter().copied().filter(|agent| agent.reads(path)).collect(),
            }
        };
        if user_agent.len().max(path.len()) > TEXT {
            return Arc::new(make());
        }
        // requests alike have their HTTP part in common, so its place is enough to find them by
        let is_same =
            |known: &Words| Arc::ptr_eq(&known.http, http) && *known.user_agent == *user_agent && *known.path == *path;
        words.share(Arc::as_ptr(http), is_same, make)
    }

    /// Session tokens: who holds them, and until when.
    fn session(&mut self, ip: IpAddr, imds: &Imds, start: Timestamp, signals: &mut Signals) {
        if let Some(session) = imds.session_token.and_then(|token| self.tokens.peek(&token)) {
            if !session.holders.contains(&Some(ip)) {
                signals.add(Signal::TokenShared);
            }
            if start > session.until {
                signals.add(Signal::TokenExpired);
            }
        }
        if let Some((token, seconds)) = imds.issued_token {
            let lifetime = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(Timestamp::SECOND);
            let until = start.plus(lifetime);
            let session = self.tokens.entry(token, || Session { holders: [None; HOLDERS], until });
            session.until = session.until.max(until);
            if !session.holders.contains(&Some(ip))
                && let Some(free) = session.holders.iter_mut().find(|holder| holder.is_none())
            {
                *free = Some(ip);
            }
        }
    }
}

/// Whether User-Agent, path and headers are those of a known agent, and whether they explain a walk of the tree. Several
/// agents send the User-Agent of a library that any tool may use: then the agent has to belong to this provider, and use
/// its present version, to explain more than a walk. `agents` are those whose User-Agent and path they are.
fn agent(request: Request<'_>, agents: &[&Agent]) -> (bool, bool) {
    let Some(message) = request.tx.request.as_ref().filter(|_| !request.user_agent.is_empty()) else {
        return (false, false);
    };
    let signals = request.imds.signals;
    let (mut explains, mut walks) = (false, false);
    for agent in agents {
        let provider = agent.provider.as_ref();
        let fits = provider.is_none_or(|provider| provider == request.imds.provider)
            && agent.headers.iter().all(|rule| message.head.fields().any(|(name, value)| rule.fits(name, value)));
        let is_shared = signals.has(Signal::ToolUserAgent) || signals.has(Signal::BrowserLike);
        walks |= fits;
        explains |= fits && (!is_shared || provider.is_some() && !signals.has(Signal::V1));
    }
    (explains, walks)
}

fn caller(callers: &mut Pool<Caller>, user_agent: &[u8], catalogue: &Catalogue) -> Arc<Caller> {
    let caller = || Caller { user_agent: user_agent.into(), agents: catalogue.agents_called(user_agent).collect() };
    match user_agent.len() {
        ..=TEXT => callers.share(user_agent, |known| *known.user_agent == *user_agent, caller),
        _ => Arc::new(caller()),
    }
}

impl Client {
    /// `first-seen`, `v1-after-v2`, `multi-cloud`.
    fn over_time(&mut self, imds: &Imds, hash: impl Fn(&[&str]) -> u64, signals: &mut Signals) {
        if self.sets.add(Set::Kinds, hash(&[imds.provider, imds.service, imds.path_id.unwrap_or("")])) {
            signals.add(Signal::FirstSeen);
        }
        if self.v2 && imds.version == Some("v1") {
            signals.add(Signal::V1AfterV2);
        }
        if imds.provider != "unknown" {
            self.multi_cloud |= *self.provider.get_or_insert(imds.provider) != imds.provider;
        }
        if self.multi_cloud {
            signals.add(Signal::MultiCloud);
        }
    }

    /// Takes a step; the chain so far when the steps are those of a walk. Each further step is one more.
    fn walk(&mut self, request: Request<'_>, (path, parent): (u64, u64), idle: i64) -> Option<Vec<ChainLink>> {
        let Self { walk, sets, .. } = self;
        let Request { tx, imds, start, .. } = request;
        if start.since(walk.last) > idle {
            *walk = Walk::default();
            sets.forget_walk();
        }
        walk.last = walk.last.max(start);
        let impossible = imds.signals.has(Signal::ImpossiblePath);
        if !sets.add(Set::Walked, path) && !impossible {
            return None;
        }
        if imds.signals.has(Signal::NotFound) {
            sets.add(Set::Missing, path);
        }
        if imds.path != "/" && sets.has(Set::Walked, parent) {
            sets.add(Set::Directories, parent);
        }
        if walk.steps.len() < LINKS {
            let (source, destination) = (tx.conn.client, tx.conn.server);
            let (id, http) = (request.event_id, request.http.clone());
            walk.steps.push(Step { id, start, http, source, destination });
        }
        let (directories, missing) = (sets.len(Set::Directories), sets.len(Set::Missing));
        let walks = directories >= WALK_DIRECTORIES || directories + missing >= WALK_STEPS;
        (impossible || walks).then(|| walk.steps.iter().map(Step::link).collect())
    }
}

/// Whether a credential fetch has the order, headers and version of an SDK, and nothing that speaks against one.
fn is_sdk(request: Request<'_>, signals: Signals, client: &Client, parent: u64) -> bool {
    const AGAINST: &[Signal] = &[
        Signal::V1,
        Signal::V1AfterV2,
        Signal::ForeignHost,
        Signal::Forwarded,
        Signal::BrowserLike,
        Signal::ToolUserAgent,
        Signal::ClaimedIdentityMismatch,
        Signal::ImpossiblePath,
        Signal::ObfuscatedPath,
        Signal::TcpOverlapConflict,
        Signal::Proxied,
        Signal::RogueResponder,
        Signal::TokenShared,
        Signal::TokenExpired,
    ];
    let imds = request.imds;
    let secret = matches!(imds.sensitivity, Sensitivity::Credential | Sensitivity::Identity | Sensitivity::Token);
    if !secret || !matches!(imds.leg, Leg::Address | Leg::Named) {
        return false;
    }
    let claims = signals.has(Signal::SdkUserAgent);
    let header = |name: &str| imds.headers.iter().any(|(header, _)| header == name);
    // azure-identity asks without header first, to see whether a service is there
    let is_azure_probe = claims && imds.provider == "azure" && signals.has(Signal::Refused);
    // Google's libraries send the User-Agent of the HTTP library below them
    let is_google_library = imds.provider == "gcp" && header("x-goog-api-client");
    let excused = |signal: Signal| match signal {
        Signal::V1 => is_azure_probe,
        Signal::ToolUserAgent => is_google_library,
        _ => false,
    };
    if AGAINST.iter().any(|signal| signals.has(*signal) && !excused(*signal)) {
        return false;
    }
    match (imds.provider, imds.sensitivity) {
        (_, Sensitivity::Token) => claims,
        ("aws", Sensitivity::Credential) if imds.version.is_some() => {
            imds.session_token.is_some() && client.asked_token && client.sets.has(Set::Paths, parent)
        }
        ("aws", Sensitivity::Credential) => claims || (signals.has(Signal::NoUserAgent) && is_modern(request)),
        _ => claims || is_google_library,
    }
}

/// HTTP/1.1 with a Host header: what libraries send and hands leave out.
fn is_modern(request: Request<'_>) -> bool {
    request.tx.request.as_ref().is_some_and(|message| {
        message.head.version.is_some_and(|v| (v.major, v.minor) == (1, 1)) && message.head.field("host").is_some()
    })
}

/// Whether a request claims to be an SDK that would have asked for a session token, or listed roles, before.
fn is_impostor(request: Request<'_>, client: &Client) -> bool {
    let imds = request.imds;
    let claims = imds.signals.has(Signal::SdkUserAgent) && imds.provider == "aws" && imds.version.is_some();
    claims && imds.sensitivity == Sensitivity::Credential && !client.asked_token && imds.session_token.is_none()
}

/// The path without its last segment; `/` above the first.
fn parent(path: &str) -> &str {
    match path.bytes().rposition(|byte| byte == b'/') {
        Some(at) if at > 0 => path.get(..at).unwrap_or("/"),
        _ => "/",
    }
}
