//! Who asks, and what that actor did before in this run (contract section 4, actor): the signals that need memory, whether
//! the steps are a known client's, and whether the actor walks the tree.
//!
//! Bounded by addresses, actors and session tokens; what is forgotten only makes an actor look new again. There may be
//! many, most of which ask three things and are not heard of again: one takes little room.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::sets::Set64;
use super::subject::key;
use super::table::Table;
use super::walk::{Step, Walk, Walked};
use crate::alert::{ChainLink, HttpSubject};
use crate::catalogue::{self, Catalogue, ClientKind, TokenUse};
use crate::conn::Conn;
use crate::detect::client::request_shape;
use crate::detect::{Client, Imds, RecognisedBy, Sensitivity, Signal, Signals, Standing, TokenHash};
use crate::id::EventId;
use crate::packet::Timestamp;
use crate::proto::http;

/// Time within which the steps of an SDK follow each other, in nanoseconds.
const STEPS: i64 = 10 * Timestamp::SECOND;
/// Most actors that one session token is known to have been issued to (the legs of a proxied request).
const HOLDERS: usize = 4;
/// For so long an address is new, and all who ask there are, in nanoseconds.
const NEW: i64 = 3600 * Timestamp::SECOND;
/// Directories whose listing is remembered, of each actor.
const LISTINGS: usize = 4;

/// Stable number of an actor: client address, process where known, and who it is by its form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ActorId(pub u128);

/// All actors of the run, and the session tokens that were issued to them.
#[derive(Debug)]
pub struct Actors {
    addresses: Table<IpAddr, Address>,
    actors: Table<ActorId, Actor>,
    tokens: Table<TokenHash, Session>,
    /// Hashes what is remembered of actors.
    seed: RandomState,
}

/// What one request means in the light of what came before.
#[derive(Debug, Default)]
pub struct Assessment {
    /// Signals to add.
    pub signals: Signals,
    /// Who asks.
    pub actor: ActorId,
    /// Who that is, as far as severity is concerned.
    pub asker: Asker,
    /// It was not there when its address was new, nor long since.
    pub newcomer: bool,
    /// Name of the known client, that of the one whose session token it goes on with.
    pub name: Option<&'static str>,
    /// The request completes a walk of the tree.
    pub walk: Option<Walked>,
}

/// Whose request it is, in the order of the contract's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asker {
    /// An agent in its own pattern.
    Agent,
    /// A complete and consistent SDK.
    Sdk,
    /// Another known client in its own form and steps.
    Program,
    /// Nobody who is known.
    #[default]
    Nobody,
    /// A tool, somebody who says to be someone else, or somebody for someone else.
    Tool,
}

/// What is remembered of one address, whoever asks there.
#[derive(Debug, Default)]
struct Address {
    /// First request.
    since: Timestamp,
    /// Whose services it used, and whether another's too.
    provider: Option<&'static str>,
    multi_cloud: bool,
    /// It used a session token.
    v2: bool,
    /// (provider, service, kind of path) asked for.
    kinds: Set64,
}

/// One actor.
#[derive(Debug, Default)]
struct Actor {
    /// First request.
    since: Timestamp,
    /// It asked for a session token.
    asked_token: bool,
    /// Directories listed last: hash of the path, when, with which session token.
    listed: Vec<(u64, Timestamp, Option<TokenHash>)>,
    walk: Walk,
}

/// A session token of a metadata service.
#[derive(Debug)]
struct Session {
    holders: [Option<Holder>; HOLDERS],
    issued: Timestamp,
    /// Until when it is valid.
    until: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    ip: IpAddr,
    actor: ActorId,
    known: Option<&'static catalogue::Client>,
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

/// Who asks, once a session token is taken into account.
#[derive(Clone, Copy)]
struct Who {
    actor: ActorId,
    known: Option<&'static catalogue::Client>,
    standing: Standing,
    /// When the session token was issued to this actor.
    token: Option<Timestamp>,
}

impl Actors {
    /// Room for `limit` addresses and as many actors and session tokens.
    pub fn new(limit: usize) -> Self {
        Self {
            addresses: Table::new(limit),
            actors: Table::new(limit),
            tokens: Table::new(limit),
            seed: RandomState::default(),
        }
    }

    /// Entries that made room for others.
    pub fn evicted(&self) -> u64 {
        self.addresses.evicted + self.actors.evicted + self.tokens.evicted
    }

    /// Learns from a request.
    pub fn learn(&mut self, request: Request<'_>, catalogue: &Catalogue) -> Assessment {
        let Request { tx, imds, start, .. } = request;
        let mut signals = Signals::default();
        let who = self.session(request, catalogue, &mut signals);
        let excused = is_agents(request, who, catalogue);
        let kind = self.seed.hash_one([imds.provider, imds.service, imds.path_id.unwrap_or("")]);
        let (path, parent) = (self.seed.hash_one(&*imds.path), self.seed.hash_one(parent(&imds.path)));
        let address = self.addresses.entry(tx.conn.client.ip, || Address { since: start, ..Address::default() });
        address.over_time(imds, kind, &mut signals);
        let actor = self.actors.entry(who.actor, || Actor { since: start, ..Actor::default() });
        let newcomer = actor.since.since(address.since) >= NEW && start.since(actor.since) < NEW;
        if is_impostor(imds, who, actor) {
            signals.add(Signal::ClaimedIdentityMismatch);
        }
        let steps = actor.has_steps(request, who, parent);
        let asker = asker(imds, who, signals, steps, excused);
        if asker == Asker::Sdk && is_complete(imds) {
            signals.add(Signal::SdkPattern);
        }
        actor.asked_token |= imds.sensitivity == Sensitivity::Token;
        actor.list(path, start, imds.session_token);
        let step = Step::new(request, (path, parent), asker > Asker::Program);
        let walk = actor.walk.take(step).filter(|walk| walk.impossible || !excused && asker > Asker::Program);
        Assessment { signals, actor: who.actor, asker, newcomer, name: who.known.map(catalogue::Client::name), walk }
    }

    /// The steps of an actor's walk.
    pub fn walk(&self, actor: ActorId) -> Vec<ChainLink> {
        self.actors.peek(&actor).map(|actor| actor.walk.chain()).unwrap_or_default()
    }

    /// Who asks: whoever its form says, or the actor to whom the session token was issued that it goes on with.
    fn session(&mut self, request: Request<'_>, catalogue: &Catalogue, signals: &mut Signals) -> Who {
        let Request { tx, imds, start, .. } = request;
        let Client { known, standing, .. } = imds.client;
        let actor = actor_id(&tx.conn, &imds.client, known);
        let mut who = Who { actor, known, standing, token: None };
        let ip = tx.conn.client.ip;
        if let Some(session) = imds.session_token.and_then(|token| self.tokens.peek(&token)) {
            let mut holders = session.holders.iter().flatten().filter(|holder| holder.ip == ip);
            match holders.find_map(|holder| holder.goes_on(request, who, catalogue)) {
                Some(heir) => who = Who { token: Some(session.issued), ..heir },
                None => signals.add(Signal::TokenShared),
            }
            if start > session.until {
                signals.add(Signal::TokenExpired);
            }
        }
        if let Some((token, seconds)) = imds.issued_token {
            let lifetime = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(Timestamp::SECOND);
            let holder = Holder { ip, actor: who.actor, known: who.known };
            let new = || Session { holders: [None; HOLDERS], issued: start, until: start };
            self.tokens.entry(token, new).issue(holder, start, lifetime);
        }
        who
    }
}

/// Whether User-Agent, path and headers are those of a known agent. Several send the User-Agent of a library that any
/// tool may use, and User-Agents are easily copied: where the form is known to be another's, they explain nothing.
fn is_agents(request: Request<'_>, who: Who, catalogue: &Catalogue) -> bool {
    let Request { tx, imds, user_agent, .. } = request;
    let copied = matches!(who.standing, Standing::Mismatch | Standing::Claimed);
    let Some(message) = tx.request.as_ref().filter(|_| !user_agent.is_empty() && !copied) else { return false };
    if imds.signals.has(Signal::ToolUserAgent) || imds.signals.has(Signal::BrowserLike) {
        return who.standing == Standing::Known && who.known.is_some_and(|known| known.kind == ClientKind::Agent);
    }
    catalogue.agents_called(user_agent).filter(|agent| agent.reads(&imds.path)).any(|agent| {
        agent.provider.as_ref().is_none_or(|provider| provider == imds.provider)
            && agent.headers.iter().all(|rule| message.head.fields().any(|(name, value)| rule.fits(name, value)))
    })
}

/// An actor by its address, its process where known, and its form.
fn actor_id(conn: &Conn, client: &Client, known: Option<&'static catalogue::Client>) -> ActorId {
    ActorId(key(|hasher| {
        conn.client.ip.hash(hasher);
        conn.process.as_ref().map(|process| process.name.as_str()).hash(hasher);
        match known {
            Some(known) => known.name().hash(hasher),
            None => (client.shape, &client.family).hash(hasher),
        }
    }))
}

impl Holder {
    /// Who asks, if this is the holder of the token: the same actor, or a known client that goes on under another name.
    fn goes_on(&self, request: Request<'_>, who: Who, catalogue: &Catalogue) -> Option<Who> {
        if self.actor == who.actor {
            return Some(who);
        }
        let known = self.known.filter(|known| known.goes_on_as(request.user_agent))?;
        let head = &request.tx.request.as_ref()?.head;
        known.has_shape(&request_shape(catalogue, head)).then_some(Who {
            actor: self.actor,
            known: Some(known),
            standing: if known.asks_for(head.target()) { Standing::Known } else { Standing::Strayed },
            token: None,
        })
    }
}

impl Session {
    fn issue(&mut self, holder: Holder, start: Timestamp, lifetime: i64) {
        self.until = self.until.max(start.plus(lifetime));
        self.issued = self.issued.max(start);
        let is_known = self.holders.iter().flatten().any(|known| (known.ip, known.actor) == (holder.ip, holder.actor));
        if !is_known && let Some(free) = self.holders.iter_mut().find(|known| known.is_none()) {
            *free = Some(holder);
        }
    }
}

impl Address {
    /// `first-seen`, `v1-after-v2`, `multi-cloud`.
    fn over_time(&mut self, imds: &Imds, kind: u64, signals: &mut Signals) {
        if self.kinds.add(kind) {
            signals.add(Signal::FirstSeen);
        }
        if self.v2 && imds.version == Some("v1") {
            signals.add(Signal::V1AfterV2);
        }
        self.v2 |= imds.session_token.is_some();
        if imds.provider != "unknown" {
            self.multi_cloud |= *self.provider.get_or_insert(imds.provider) != imds.provider;
        }
        if self.multi_cloud {
            signals.add(Signal::MultiCloud);
        }
    }
}

impl Actor {
    fn list(&mut self, path: u64, time: Timestamp, token: Option<TokenHash>) {
        self.listed.retain(|(known, ..)| *known != path);
        if self.listed.len() >= LISTINGS {
            self.listed.remove(0);
        }
        self.listed.push((path, time, token));
    }

    /// Whether a request comes after the steps that its client takes: all by this actor, with the session token that was
    /// issued to it, within seconds.
    fn has_steps(&self, request: Request<'_>, who: Who, parent: u64) -> bool {
        let Request { imds, start, .. } = request;
        let Some(known) = who.known else { return false };
        let stepped = imds.provider == "aws" && imds.version.is_some() && imds.sensitivity == Sensitivity::Credential;
        if !stepped || imds.path.ends_with("security-credentials") {
            return true;
        }
        let fresh = |time: Timestamp| start.since(time) <= STEPS;
        let listed = self.listed.iter().rev().find(|(path, time, _)| *path == parent && fresh(*time));
        let Some((_, _, with)) = listed else { return false };
        match known.token {
            TokenUse::Never => imds.session_token.is_none(),
            TokenUse::Mixed => who.token.is_some_and(fresh),
            // some ask for one before each step
            TokenUse::Each => who.token.is_some_and(fresh) && with.is_some(),
            TokenUse::Cached | TokenUse::Unsaid => who.token.is_some() && *with == imds.session_token,
        }
    }
}

/// Whose request it is.
fn asker(imds: &Imds, who: Who, added: Signals, steps: bool, excused: bool) -> Asker {
    let signals = imds.signals.union(added);
    let has = |list: &[Signal]| list.iter().any(|signal| signals.has(*signal));
    if has(&[Signal::ForeignHost, Signal::Forwarded, Signal::BrowserLike, Signal::ClaimedIdentityMismatch]) {
        return Asker::Tool;
    }
    let own = !has(&[
        Signal::TokenShared,
        Signal::TokenExpired,
        Signal::ImpossiblePath,
        Signal::TcpOverlapConflict,
        Signal::RogueResponder,
    ]);
    let proxied = signals.has(Signal::Proxied);
    match (who.standing, who.known.map(|known| known.kind)) {
        (Standing::Tool | Standing::Mismatch | Standing::Claimed, _) => Asker::Tool,
        (Standing::Known, Some(_)) if imds.client.shape.is_none() => Asker::Program,
        (Standing::Known, Some(kind)) if own && steps => match kind {
            _ if proxied || !matches!(imds.recognised_by, RecognisedBy::Address | RecognisedBy::Name) => Asker::Program,
            ClientKind::Agent => Asker::Agent,
            ClientKind::Sdk if !signals.has(Signal::ObfuscatedPath) => Asker::Sdk,
            _ => Asker::Program,
        },
        // a User-Agent alone excuses no credential
        _ if excused && own && !proxied && imds.sensitivity < Sensitivity::Credential => Asker::Agent,
        _ if proxied => Asker::Tool,
        _ => Asker::Nobody,
    }
}

/// Whether a request is the last step of an SDK, which tells the whole pattern.
fn is_complete(imds: &Imds) -> bool {
    matches!(imds.sensitivity, Sensitivity::Credential | Sensitivity::Identity)
}

/// Whether a request claims to be an SDK that would have asked for a session token before.
fn is_impostor(imds: &Imds, who: Who, actor: &Actor) -> bool {
    let stepped = imds.provider == "aws" && imds.version.is_some() && imds.sensitivity == Sensitivity::Credential;
    let asks = who.known.is_some_and(|known| matches!(known.token, TokenUse::Each | TokenUse::Cached));
    let claims = imds.signals.has(Signal::SdkUserAgent) && who.standing != Standing::Tool;
    stepped && claims && (asks || who.known.is_none()) && !actor.asked_token && imds.session_token.is_none()
}

/// The path without its last segment; `/` above the first.
fn parent(path: &str) -> &str {
    match path.bytes().rposition(|byte| byte == b'/') {
        Some(at) if at > 0 => path.get(..at).unwrap_or("/"),
        _ => "/",
    }
}
