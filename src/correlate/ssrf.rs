//! Request forgery: an inbound request names a target, and a metadata request for the same path follows (contract
//! section 4, "SSRF").
//!
//! The inbound request ends after the metadata request that it caused, and a reverse proxy's request after the one that
//! it passed on, so nothing is decided at once: both wait [`HOLD`] for what belongs to them, and are remembered for the
//! window after that. Bounded by count and age; what may belong together is found by what it has in common ([`index`]), so
//! that a request costs the same however many are remembered.

mod index;
mod redirects;

use std::collections::VecDeque;
use std::sync::Arc;

use index::{Index, Mark};
use redirects::{CHAIN, Key, Reached, Redirect, Redirects, candidate_key, url_key};

use super::issue::HOLD;
use crate::alert::{ChainLink, Subject};
use crate::conn::Conn;
use crate::detect::{Candidate, CandidateKind, HostRef};
use crate::packet::Timestamp;

/// Most inbound requests remembered, however much memory there is.
const INBOUND: usize = 4096;
/// Most metadata requests that one alert lists.
const LISTED: usize = 8;
/// Most metadata requests that one inbound request is compared with.
const COMPARED: usize = 32;
/// Most inbound requests that are compared where a redirect may lead to anything.
const REDIRECTED: usize = 128;

/// What is remembered, and what waits.
#[derive(Debug)]
pub struct Ssrf {
    waiting: VecDeque<Request>,
    settled: VecDeque<Request>,
    /// In the order of their ends; those up to `settled_legs` have been decided.
    legs: VecDeque<Leg>,
    settled_legs: usize,
    /// Number of the first of `legs`.
    first_leg: u64,
    /// Requests by the URLs, names and ends of paths that they name.
    requests: Index,
    /// Metadata requests by their clients and the ends of their paths.
    fetches: Index,
    redirects: Redirects,
    window: i64,
    /// By how much the clocks of sensors may differ.
    skew: i64,
    /// Most inbound requests remembered; as many redirects, and twice as many metadata legs.
    limit: usize,
    next: u64,
    /// Requests forgotten before their time.
    pub evicted: u64,
}

/// A request that names targets.
#[derive(Debug)]
pub struct Inbound {
    /// The exchange.
    pub subject: Arc<Subject>,
    /// First byte of the request.
    pub first: Timestamp,
    /// End of its answer.
    pub end: Timestamp,
    /// Targets that it names.
    pub candidates: Vec<Candidate>,
    /// The URL that it asks for itself.
    pub own_url: Option<(HostRef, String)>,
    /// It carries a credential that was issued.
    pub relayed: bool,
    /// The search for its targets was cut short.
    pub cut: bool,
}

/// A metadata request.
#[derive(Debug)]
pub struct Fetch {
    /// The exchange.
    pub subject: Arc<Subject>,
    /// First byte of the request.
    pub first: Timestamp,
    /// It has the habits of an SDK.
    pub sdk: bool,
}

impl Fetch {
    /// Normalised path.
    fn path(&self) -> &str {
        self.subject.imds.as_ref().map(|imds| imds.path.as_str()).unwrap_or_default()
    }
}

/// What was found out about an inbound request.
#[derive(Debug)]
pub struct Finding {
    /// The exchange that gives the ends.
    pub inbound: Arc<Subject>,
    /// End of its answer.
    pub end: Timestamp,
    /// The target by which it was found.
    pub candidate: Candidate,
    /// Metadata requests that it caused; none for an attempt.
    pub fetches: Vec<Arc<Subject>>,
    /// Events between the inbound request and the fetch: lookups and redirects.
    pub between: Vec<ChainLink>,
    /// It carries an issued credential.
    pub relayed: bool,
    /// The search for its targets was cut short.
    pub cut: bool,
}

/// Finds how a name was resolved to a metadata address.
pub type Resolved<'a> = &'a dyn Fn(&str) -> Option<ChainLink>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet,
    Attempted,
    Confirmed,
    /// Passed on by a proxy, or fetched on behalf of another inbound request: that one's number.
    Inner(u64),
}

#[derive(Debug)]
struct Request {
    inbound: Inbound,
    /// Keys of the candidates' URLs.
    keys: Vec<Key>,
    /// Key of the URL that it asks for itself.
    own_key: Option<Key>,
    /// What it is found by.
    marks: Vec<Mark>,
    number: u64,
    until: Timestamp,
    state: State,
}

#[derive(Debug)]
struct Leg {
    fetch: Fetch,
    until: Timestamp,
    claimed: bool,
    /// What it is found by: its path's end and its client.
    marks: [Mark; 2],
}

/// A path that an inbound request leads to.
#[derive(Debug)]
struct Target<'a> {
    /// What the request names.
    from: &'a Candidate,
    /// Where that leads.
    to: &'a Candidate,
    /// Names a metadata service, by itself, by DNS or by redirect.
    is_metadata: bool,
    between: Vec<ChainLink>,
}

impl Target<'_> {
    /// Whether `path` is the target's, or what is left of it behind a proxy.
    fn fits(&self, path: &str) -> bool {
        match self.to.path.as_deref() {
            None => self.to.kind == CandidateKind::Attempt && path == "/",
            Some(own) if self.is_metadata || self.to.is_metadata => own == path || path != "/" && own.ends_with(path),
            // the host is not known to be a service: the whole path must be the same, and no commonplace
            Some(own) => own == path && path.matches('/').count() > 1,
        }
    }
}

impl Ssrf {
    /// `window` in nanoseconds of packet time.
    pub fn new(window: i64, limit: usize) -> Self {
        Self {
            limit: limit.clamp(1, INBOUND),
            waiting: VecDeque::new(),
            settled: VecDeque::new(),
            legs: VecDeque::new(),
            settled_legs: 0,
            first_leg: 0,
            requests: Index::default(),
            fetches: Index::default(),
            redirects: Redirects::default(),
            window,
            skew: 0,
            next: 0,
            evicted: 0,
        }
    }

    /// Where what is compared comes of two sensors, their clocks may differ by `skew` nanoseconds.
    pub fn with_skew(self, skew: i64) -> Self {
        Self { skew, ..self }
    }

    /// Whether a metadata request began while an inbound request was open.
    fn is_open(&self, inbound: &Inbound, fetch: &Fetch) -> bool {
        let origins = [&inbound.subject.conn.told_by, &fetch.subject.conn.told_by];
        let slack = if origins.iter().any(|origin| origin.is_some()) { self.skew } else { 0 };
        (inbound.first.plus(-slack)..=inbound.end.plus(slack)).contains(&fetch.first)
    }

    /// Takes a request that names targets.
    pub fn inbound(&mut self, inbound: Inbound, now: Timestamp) {
        self.next += 1;
        let keys: Vec<Key> = inbound.candidates.iter().map(candidate_key).collect();
        let own_key = inbound.own_url.as_ref().map(|(host, target)| url_key(host, target));
        let marks = request_marks(&inbound.candidates, &keys);
        let (number, until) = (self.next, now.plus(HOLD));
        self.requests.add(number, &marks);
        self.waiting.push_back(Request { inbound, keys, own_key, marks, number, until, state: State::Quiet });
    }

    /// Takes a metadata request.
    pub fn leg(&mut self, fetch: Fetch, now: Timestamp) {
        let marks = [index::ending(Some(fetch.path())), index::client(fetch.subject.conn.client)];
        self.fetches.add(self.first_leg + self.legs.len() as u64, &marks);
        self.legs.push_back(Leg { fetch, until: now.plus(HOLD), claimed: false, marks });
    }

    /// Takes an exchange whose answer sends its client elsewhere.
    pub fn redirect(&mut self, url: &(HostRef, String), first: Timestamp, to: Candidate, link: ChainLink) {
        if self.redirects.len() >= self.limit {
            self.redirects.forget();
            self.evicted += 1;
        }
        self.redirects.add(url_key(&url.0, &url.1), Redirect { first, key: candidate_key(&to), to, link });
    }

    /// Whether so much waits that some has to be decided early.
    pub fn is_crowded(&self) -> bool {
        self.waiting.len() > self.limit || self.legs.len() > 2 * self.limit + self.settled_legs
    }

    /// Decides what waited until `now`, in the order in which the waiting ends, and forgets what is old.
    pub fn expire(&mut self, now: Timestamp, resolved: Resolved<'_>, out: &mut Vec<Finding>) {
        loop {
            let crowded = (self.waiting.len() > self.limit, self.legs.len() > 2 * self.limit + self.settled_legs);
            let request = self.waiting.front().map(|r| r.until).filter(|until| *until <= now || crowded.0);
            let leg = self.legs.get(self.settled_legs).map(|l| l.until).filter(|until| *until <= now || crowded.1);
            match (request, leg) {
                (Some(request), Some(leg)) if leg < request => self.settle_leg(resolved, out),
                (Some(_), _) => self.settle_request(resolved, out),
                (None, Some(_)) => self.settle_leg(resolved, out),
                (None, None) => break,
            }
        }
        self.forget(now);
    }

    /// Decides everything.
    pub fn finish(&mut self, resolved: Resolved<'_>, out: &mut Vec<Finding>) {
        while !self.waiting.is_empty() {
            self.settle_request(resolved, out);
        }
        while self.settled_legs < self.legs.len() {
            self.settle_leg(resolved, out);
        }
    }

    /// A name resolved to a metadata address: inbound requests of before that name it were attempts.
    pub fn name_resolved(&mut self, name: &str, link: &ChainLink, out: &mut Vec<Finding>) {
        for number in self.requests.of([index::name(name)]) {
            let place = place_of(number, &self.settled);
            let Some(request) = place.and_then(|place| self.settled.get_mut(place)) else { continue };
            if request.state != State::Quiet {
                continue;
            }
            let candidates = &request.inbound.candidates;
            let named = |candidate: &&Candidate| matches!(&candidate.host, HostRef::Name(host) if host == name);
            let Some(candidate) = candidates.iter().filter(|c| c.kind == CandidateKind::Url).find(named) else {
                continue;
            };
            request.state = State::Attempted;
            out.push(request.finding(candidate, Vec::new(), vec![link.clone()]));
        }
    }

    /// Decides the inbound request that waited longest.
    fn settle_request(&mut self, resolved: Resolved<'_>, out: &mut Vec<Finding>) {
        let Some(mut request) = self.waiting.pop_front() else { return };
        request.state = match self.outer(&request) {
            Some(number) => State::Inner(number),
            None if self.is_diverted(&request.inbound) => State::Quiet,
            None => self.judge(&request, resolved, out),
        };
        if self.settled.len() >= self.limit {
            self.forget_request();
            self.evicted += 1;
        }
        self.settled.push_back(request);
    }

    /// Whether it is a metadata request itself, seen after address translation sent it elsewhere.
    fn is_diverted(&self, inbound: &Inbound) -> bool {
        let marks = [index::client(inbound.subject.conn.client)];
        self.legs_of(marks, inbound.first.plus(HOLD)).any(|(_, leg)| {
            let (subject, own) = (&leg.fetch.subject, &inbound.subject);
            subject.conn.client == own.conn.client
                && subject.event_id != own.event_id
                && leg.fetch.first <= inbound.first
                && inbound.end <= leg.fetch.subject.over()
        })
    }

    /// Looks for metadata requests while the inbound request was open; else it may be an attempt.
    fn judge(&mut self, request: &Request, resolved: Resolved<'_>, out: &mut Vec<Finding>) -> State {
        let inbound = &request.inbound;
        let targets = self.targets(request, resolved);
        let open =
            |leg: &Leg| self.is_open(inbound, &leg.fetch) && leg.fetch.subject.event_id != inbound.subject.event_id;
        let mut found: Option<(&Target<'_>, Vec<usize>)> = None;
        // a request that was over before cannot have begun after
        let since = inbound.first.plus(HOLD - self.skew);
        let marks = targets.iter().map(|target| index::ending(target.to.path.as_deref()));
        for (at, leg) in self.legs_of(marks, since).filter(|(_, leg)| open(leg)).take(COMPARED) {
            let Some(target) = targets.iter().find(|target| target.fits(leg.fetch.path())) else { continue };
            if self.is_anothers(leg, request) {
                continue;
            }
            let (_, legs) = found.get_or_insert((target, Vec::new()));
            if legs.len() < LISTED {
                legs.push(at);
            }
        }
        if let Some((target, legs)) = found {
            let fetches = legs.iter().filter_map(|at| self.legs.get(*at)).map(|leg| leg.fetch.subject.clone());
            out.push(request.finding(target.from, fetches.collect(), target.between.clone()));
            for at in legs {
                if let Some(leg) = self.legs.get_mut(at) {
                    leg.claimed = true;
                }
            }
            return State::Confirmed;
        }
        let attempt = targets.iter().find(|t| t.is_metadata && t.from.kind != CandidateKind::Mention);
        match attempt {
            Some(target) => {
                out.push(request.finding(target.from, Vec::new(), target.between.clone()));
                State::Attempted
            }
            None => State::Quiet,
        }
    }

    /// Whether a metadata request that `request` may have caused was made by the very server to which another open request
    /// names the same path: it belongs to that one.
    fn is_anothers(&self, leg: &Leg, request: &Request) -> bool {
        let fetcher = leg.fetch.subject.conn.client.ip;
        let path = leg.fetch.path();
        let names = |other: &Request| {
            let is_same = |own: &str| own == path || path != "/" && own.ends_with(path);
            other.inbound.candidates.iter().any(|candidate| candidate.path.as_deref().is_some_and(is_same))
        };
        let is_owner = |other: &Request| {
            other.inbound.subject.conn.server.ip == fetcher
                && other.number != request.number
                && (other.inbound.first..=other.inbound.end).contains(&leg.fetch.first)
                && other.state != State::Inner(request.number)
                && names(other)
                && !self.leads_to(request, other)
        };
        let all = || self.requests_of([index::ending(Some(path))]);
        fetcher != request.inbound.subject.conn.server.ip && all().any(is_owner)
    }

    /// Requests that have one of the marks, waiting ones too, oldest first.
    fn requests_of(&self, marks: impl IntoIterator<Item = Mark>) -> impl Iterator<Item = &Request> {
        self.requests.of(marks).into_iter().filter_map(|number| {
            let settled = place_of(number, &self.settled).and_then(|at| self.settled.get(at));
            settled.or_else(|| place_of(number, &self.waiting).and_then(|at| self.waiting.get(at)))
        })
    }

    /// Metadata requests that have one of the marks and began no earlier than `since`, oldest first, and their places.
    fn legs_of(&self, marks: impl IntoIterator<Item = Mark>, since: Timestamp) -> impl Iterator<Item = (usize, &Leg)> {
        self.fetches.of(marks).into_iter().filter_map(move |number| {
            let at = usize::try_from(number.checked_sub(self.first_leg)?).ok()?;
            let leg = self.legs.get(at).filter(|leg| leg.until >= since)?;
            Some((at, leg))
        })
    }

    /// Requests that may lead to what has a mark, oldest first: that name it, or if a redirect leads there the newest ones.
    fn leading_to(&self, marks: &[Mark]) -> Vec<&Request> {
        if marks.iter().any(|mark| self.redirects.lead_to(*mark)) {
            let settled = self.settled.iter().skip(self.settled.len().saturating_sub(REDIRECTED));
            let waiting = self.waiting.iter().skip(self.waiting.len().saturating_sub(REDIRECTED));
            return settled.chain(waiting).collect();
        }
        self.requests_of(marks.iter().copied()).collect()
    }

    /// Forgets the oldest settled request.
    fn forget_request(&mut self) {
        if let Some(request) = self.settled.pop_front() {
            self.requests.remove(request.number, &request.marks);
        }
    }

    /// Decides the metadata request that waited longest: one that no inbound request claimed may belong to one that
    /// ended before, or was decided before this one ended.
    fn settle_leg(&mut self, resolved: Resolved<'_>, out: &mut Vec<Finding>) {
        let at = self.settled_legs;
        self.settled_legs += 1;
        let Some(leg) = self.legs.get(at).filter(|leg| !leg.claimed) else { return };
        let fetch = &leg.fetch;
        let fits = |request: &Request, open: bool| {
            let fits = |target: &Target<'_>| target.fits(fetch.path()) && (open || !target.from.while_open);
            self.targets(request, resolved).iter().any(fits)
        };
        let undecided = |request: &&Request| {
            request.state != State::Confirmed && request.inbound.subject.event_id != fetch.subject.event_id
        };
        let open =
            |request: &&Request| !matches!(request.state, State::Inner(_)) && self.is_open(&request.inbound, fetch);
        let after = |request: &&Request| {
            let since = fetch.first.since(request.inbound.end);
            !fetch.sdk
                && since > 0
                && since <= self.window
                && request.inbound.subject.conn.server.ip == fetch.subject.conn.client.ip
        };
        let newest = self.settled.back().map_or(0, |request| request.number);
        let known = self.leading_to(leg.marks.get(..1).unwrap_or_default());
        let all = || known.iter().copied().filter(|request| request.number <= newest).filter(undecided);
        let late = all().filter(open).filter(|r| fits(r, true)).min_by_key(|r| (r.inbound.first, r.number));
        let later = || all().filter(after).filter(|r| fits(r, false)).max_by_key(|r| (r.inbound.end, r.number));
        let Some(number) = late.or_else(later).map(|request| self.outermost(request)) else { return };
        let subject = fetch.subject.clone();
        let Some(place) = place_of(number, &self.settled) else { return };
        let Some(request) = self.settled.get(place).filter(|request| request.state != State::Confirmed) else { return };
        let targets = self.targets(request, resolved);
        let Some(target) = targets.iter().find(|target| target.fits(fetch.path())) else { return };
        out.push(request.finding(target.from, vec![subject], target.between.clone()));
        if let Some(request) = self.settled.get_mut(place) {
            request.state = State::Confirmed;
        }
    }

    /// Number of the request that `request` was made for, or its own.
    fn outermost(&self, request: &Request) -> u64 {
        let mut number = request.number;
        let mut state = request.state;
        for _ in 0..CHAIN {
            let State::Inner(outer) = state else { break };
            number = outer;
            let Some(at) = place_of(outer, &self.settled) else { break };
            state = self.settled.get(at).map_or(state, |outer| outer.state);
        }
        number
    }

    /// Number of the inbound request that `inner` was made for: a proxy passed it on, or the server fetched it.
    fn outer(&self, inner: &Request) -> Option<u64> {
        let begun = inner.inbound.first;
        let passed_on = inner.inbound.candidates.iter().map(|candidate| index::ending(candidate.path.as_deref()));
        let marks: Vec<Mark> = inner.own_key.map(index::url).into_iter().chain(passed_on).collect();
        let fetched = marks.get(..usize::from(inner.own_key.is_some())).unwrap_or_default();
        let known = match fetched.iter().any(|mark| self.redirects.lead_to(*mark)) {
            true => self.leading_to(fetched),
            false => self.requests_of(marks).collect(),
        };
        let mut outer = known.into_iter().filter(|outer| {
            outer.until >= begun.plus(HOLD)
                && (outer.inbound.first..=outer.inbound.end).contains(&begun)
                && outer.number != inner.number
                && self.leads_to(outer, inner)
                && self.outermost(outer) != inner.number
        });
        outer.next().map(|request| request.number)
    }

    fn leads_to(&self, outer: &Request, inner: &Request) -> bool {
        let same = |candidate: &Candidate| {
            let known = &outer.inbound.candidates;
            known.iter().any(|known| known.host == candidate.host && known.path == candidate.path)
        };
        let (outer_conn, inner_conn) = (&outer.inbound.subject.conn, &inner.inbound.subject.conn);
        // one without an answer is open for ever, and would take in all that comes later
        let is_bounded = outer.inbound.subject.end.is_some() || inner_conn.client.ip == outer_conn.server.ip;
        let passed_on = inner.inbound.end <= outer.inbound.end
            && is_bounded
            && is_next_hop(outer_conn, inner_conn)
            && inner.inbound.candidates.iter().any(same);
        let fetched = || {
            let reaches = |own| self.reachable(outer).iter().any(|reached| reached.key == own);
            let is_redirected = |own| self.redirects.lead_to(index::url(own));
            inner.own_key.is_some_and(|own| outer.keys.contains(&own) || is_redirected(own) && reaches(own))
        };
        passed_on || fetched()
    }

    /// What the request names, and what redirects lead to from there.
    fn reachable<'a>(&'a self, request: &'a Request) -> Vec<Reached<'a>> {
        let Inbound { candidates, first, end, .. } = &request.inbound;
        let named = candidates.iter().zip(request.keys.iter().copied());
        self.redirects.reachable(named, *first..=end.plus(self.window))
    }

    /// Every path that the request leads to, by itself, by DNS and by redirects.
    fn targets<'a>(&'a self, request: &'a Request, resolved: Resolved<'_>) -> Vec<Target<'a>> {
        let target = |Reached { from, to, way, .. }: Reached<'a>| {
            let lookup = match &to.host {
                HostRef::Name(name) => resolved(name),
                HostRef::Address(_) => None,
            };
            let is_metadata = to.kind == CandidateKind::Attempt || lookup.is_some();
            let between = way.iter().map(|hop| hop.link.clone()).chain(lookup).collect();
            Target { from, to, is_metadata, between }
        };
        self.reachable(request).into_iter().map(target).collect()
    }

    fn forget(&mut self, now: Timestamp) {
        let old = |end: Timestamp, window: i64| now.since(end) > window + 2 * HOLD;
        while self.settled.front().is_some_and(|request| old(request.inbound.end, self.window)) {
            self.forget_request();
        }
        while self.redirects.oldest().is_some_and(|first| old(first, self.window)) {
            self.redirects.forget();
        }
        while self.settled_legs > 0
            && (self.legs.len() > 2 * self.limit || self.legs.front().is_some_and(|leg| old(leg.until, self.window)))
        {
            self.evicted += u64::from(self.legs.len() > 2 * self.limit);
            if let Some(leg) = self.legs.pop_front() {
                self.fetches.remove(self.first_leg, &leg.marks);
            }
            self.first_leg += 1;
            self.settled_legs -= 1;
        }
    }
}

/// What a request that names these candidates, the URLs of which have these keys, is found by.
fn request_marks(candidates: &[Candidate], keys: &[Key]) -> Vec<Mark> {
    let endings = candidates.iter().map(|candidate| index::ending(candidate.path.as_deref()));
    let names = candidates.iter().filter_map(|candidate| match &candidate.host {
        HostRef::Name(name) if candidate.kind == CandidateKind::Url => Some(index::name(name)),
        _ => None,
    });
    let mut marks: Vec<Mark> = endings.chain(names).chain(keys.iter().map(|key| index::url(*key))).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

impl Request {
    fn finding(&self, candidate: &Candidate, fetches: Vec<Arc<Subject>>, between: Vec<ChainLink>) -> Finding {
        let Inbound { subject, end, relayed, cut, .. } = &self.inbound;
        Finding {
            inbound: subject.clone(),
            end: *end,
            candidate: candidate.clone(),
            fetches,
            between,
            relayed: *relayed,
            cut: *cut,
        }
    }
}

/// Where a request of this number stands: they are numbered one after the other, and leave at the front.
fn place_of(number: u64, requests: &VecDeque<Request>) -> Option<usize> {
    let at = usize::try_from(number.checked_sub(requests.front()?.number)?).ok()?;
    requests.get(at).is_some_and(|request| request.number == number).then_some(at)
}

/// Whether `inner` may be what the server of `outer` passed on: it goes on to another server, from another client, or is
/// the same connection seen before and after address translation.
fn is_next_hop(outer: &Conn, inner: &Conn) -> bool {
    let other_client = inner.client.ip != outer.client.ip || inner.client.ip == outer.server.ip;
    inner.server != outer.server && (other_client || inner.client == outer.client)
}
