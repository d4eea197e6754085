//! Which provider an exchange is with: several share 169.254.169.254. Evidence is weighed in the order of contract
//! section 3, each step leaving the endpoints that it speaks for.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::proof::Answer;
use super::request::Request;
use crate::catalogue::{Catalogue, Endpoint, HeaderRule, PathMatch, Sensitivity};
use crate::proto::http::Head;

/// What is known of an exchange.
pub(super) struct Evidence<'x> {
    /// Indicators.
    pub(super) catalogue: &'x Catalogue,
    /// The request.
    pub(super) request: Option<&'x Request<'x>>,
    /// Header of the answer.
    pub(super) response: Option<&'x Head>,
    /// The answer as a document.
    pub(super) answer: Option<&'x Answer<'x>>,
    /// Port of the server, where that is the service itself.
    pub(super) port: Option<u16>,
    /// Endpoints that the request names.
    pub(super) named: &'x [&'static Endpoint],
    /// Entries that fit the path.
    pub(super) matches: &'x [PathMatch],
    /// Provider that last answered at this address to this client.
    pub(super) last: Option<&'static str>,
}

/// Which service it is, as far as that can be told.
pub(super) struct Choice {
    /// Provider, or `unknown`.
    pub(super) provider: &'static str,
    /// Service.
    pub(super) service: &'static str,
    /// Endpoints left over.
    pub(super) endpoints: Vec<&'static Endpoint>,
    /// The entry that fits best.
    pub(super) entry: Option<PathMatch>,
    /// A header of the answer tells.
    pub(super) answered: bool,
    /// It was told without what was remembered and without a tie.
    pub(super) firm: bool,
}

/// Provider where nothing tells.
pub(super) const UNKNOWN: &str = "unknown";

/// Weighs the evidence for the endpoints that address or name allow.
pub(super) fn choose(mut left: Vec<&'static Endpoint>, evidence: &Evidence<'_>) -> Choice {
    let (mut answered, mut firm) = (false, true);
    if one_provider(&left).is_none() {
        let is_on_port = |e: &&Endpoint| evidence.port.is_some_and(|port| e.ports.contains(&port));
        if one_provider_of(left.iter().copied().filter(is_on_port)).is_some() {
            left.retain(|e| is_on_port(e));
        }
        // The Host field mostly is the address itself, which tells no more.
        if !left.iter().map(|e| std::ptr::from_ref(*e)).eq(evidence.named.iter().map(|e| std::ptr::from_ref(*e))) {
            evidence.narrow(&mut left, |e| evidence.named.iter().any(|n| std::ptr::eq(*n, e)).into());
        }
        if let Some(request) = evidence.request {
            let of_clients = request.fields(evidence.catalogue).filter(|(.., facts)| facts.client);
            let fields: Vec<_> = of_clients.map(|(name, value, _)| (name, value)).collect();
            if !fields.is_empty() {
                evidence.narrow(&mut left, |e| weight(&e.client_headers, fields.iter().copied()));
            }
        }
        if let Some(head) = evidence.response {
            answered = evidence.narrow(&mut left, |e| weight(&e.server_headers, head.fields()));
        }
        evidence.narrow_by_path(&mut left);
        firm = one_provider(&left).is_some();
        if let Some(last) = evidence.last {
            evidence.narrow(&mut left, |e| u8::from(e.provider == last && evidence.has_path(e)));
        }
    } else if let Some(head) = evidence.response {
        answered = left.iter().any(|e| weight(&e.server_headers, head.fields()) > 0);
    }
    let entry = best(evidence, &left);
    if entry.is_none() && left.iter().any(|e| evidence.is_spoken(e)) {
        // Several have such clients, none has the path: catalogue order.
        let first = left.first().map(|e| e.provider.as_str());
        left.retain(|e| Some(e.provider.as_str()) == first);
    }
    let own = entry.and_then(|m| left.iter().find(|e| m.path.is_at(e) && e.provider == m.path.entry.provider));
    let (provider, service) = match (entry, own, one_provider(&left)) {
        (Some(found), Some(_), _) => (found.path.entry.provider.as_str(), found.path.entry.service.as_str()),
        (_, _, Some(provider)) => (provider, left.first().map_or("imds", |e| e.service.as_str())),
        _ => (UNKNOWN, "imds"),
    };
    left.retain(|e| provider == UNKNOWN || e.provider == provider);
    Choice { provider, service, endpoints: left, entry, answered, firm }
}

impl Evidence<'_> {
    /// Leaves the endpoints for which `weight` is greatest, if that is more than none; whether it was.
    ///
    /// Headers and names are the client's word: they do not hide a path that gives more away than configuration and that
    /// only endpoints have which they speak against.
    fn narrow(&self, left: &mut Vec<&'static Endpoint>, weight: impl Fn(&Endpoint) -> u8) -> bool {
        let weights: Vec<u8> = left.iter().map(|e| weight(e)).collect();
        let top = weights.iter().copied().max().unwrap_or(0);
        if weights.iter().all(|weight| *weight == top) {
            return top > 0;
        }
        let mut kept = left.iter().zip(&weights).filter(|(_, weight)| **weight == top).map(|(e, _)| *e);
        let hides = !kept.any(|e| self.has_path(e)) && self.gives_away(left);
        if !hides {
            let mut weights = weights.into_iter();
            left.retain(|_| weights.next() == Some(top));
        }
        !hides
    }

    fn is_spoken(&self, endpoint: &Endpoint) -> bool {
        self.request.is_some_and(|request| weight(&endpoint.client_headers, request.head.fields()) > 0)
    }

    fn has_path(&self, endpoint: &Endpoint) -> bool {
        self.matches.iter().any(|m| m.path.is_at(endpoint))
    }

    fn gives_away(&self, endpoints: &[&'static Endpoint]) -> bool {
        // a path that any client may ask for tells nothing without the headers that belong to it
        let is_telling = |m: &&PathMatch| m.fit.literals > 0 || self.satisfies(m);
        let secret = self.matches.iter().filter(|m| m.path.entry.sensitivity > Sensitivity::Discovery && is_telling(m));
        secret.into_iter().any(|m| endpoints.iter().any(|e| m.path.is_at(e)))
    }

    /// Leaves the endpoints with the entries that fit the path best; one whose required headers are absent only counts if
    /// all lack theirs.
    fn narrow_by_path(&self, left: &mut Vec<&'static Endpoint>) {
        if left.len() == 1 {
            return;
        }
        let best = best_of(self, left);
        if !best.is_empty() {
            left.retain(|e| best.iter().any(|m| m.path.is_at(e)));
        }
    }

    /// The last: it has headers that it needs, and not only none.
    fn rank(&self, found: &PathMatch) -> (bool, usize, u8, bool) {
        let satisfies = self.satisfies(found);
        let is_special = satisfies && !found.path.entry.required_headers.is_empty();
        (satisfies, found.fit.literals, found.fit.exactness, is_special)
    }

    /// Number of markers by which the answer proves an entry.
    fn proofs(&self, found: &PathMatch) -> usize {
        let entry = found.path.entry;
        self.answer.filter(|answer| answer.proves(entry)).map_or(0, |_| entry.proof.len())
    }

    fn satisfies(&self, found: &PathMatch) -> bool {
        self.request.is_some_and(|r| found.path.entry.has_required_headers(r.head.fields()))
    }
}

/// The entry that fits best among those of the endpoints: the choice rule at the head of the catalogue.
fn best(evidence: &Evidence<'_>, endpoints: &[&'static Endpoint]) -> Option<PathMatch> {
    best_of(evidence, endpoints).into_iter().min_by_key(|m| m.order)
}

/// All entries that fit best: where several fit alike, those that the answer proves by most markers.
fn best_of(evidence: &Evidence<'_>, endpoints: &[&'static Endpoint]) -> Vec<PathMatch> {
    let at = |m: &&PathMatch| endpoints.iter().any(|e| m.path.is_at(e));
    let mut best: Vec<PathMatch> = evidence.matches.iter().filter(at).copied().collect();
    retain_greatest(&mut best, |m| evidence.rank(m));
    if best.len() > 1 {
        retain_greatest(&mut best, |m| evidence.proofs(m));
    }
    best
}

fn retain_greatest<K: Ord>(matches: &mut Vec<PathMatch>, key: impl Fn(&PathMatch) -> K) {
    let greatest = matches.iter().map(&key).max();
    matches.retain(|m| Some(key(m)) == greatest);
}

/// How much header fields speak for an endpoint: 2 by name and value, 1 by name.
fn weight<'f>(rules: &[HeaderRule], fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone) -> u8 {
    let of = |rule: &HeaderRule| if rule.value.is_some() { 2 } else { 1 };
    let stands = |rule: &&HeaderRule| fields.clone().any(|(name, value)| rule.fits(name, value));
    rules.iter().filter(stands).map(of).max().unwrap_or(0)
}

/// The provider of all of them, if it is one.
pub(super) fn one_provider(endpoints: &[&'static Endpoint]) -> Option<&'static str> {
    one_provider_of(endpoints.iter().copied())
}

fn one_provider_of(mut endpoints: impl Iterator<Item = &'static Endpoint>) -> Option<&'static str> {
    let first = endpoints.next()?;
    endpoints.all(|e| e.provider == first.provider).then_some(first.provider.as_str())
}
