//! The matcher of one worker: exchanges, DNS transactions and connections in, verdicts out.
//!
//! It follows contract section 3 (what is metadata traffic, whose, what it gives away, whether a credential was returned)
//! and adds the signals of section 4 that one exchange shows by itself. Its only state is which provider last answered at
//! an address to the same client, for [`MEMORY`] pairs, oldest out first.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod finding;
mod signals;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use hashbrown::HashMap;

use super::asked::{self, RequestTarget, TargetCache};
use super::canonical::{canonical_host, canonical_ip};
use super::client::Forms;
use super::content::Content;
use super::path::{Target, plain_path};
use super::proof::{Answer, Fingerprints};
use super::provider::{Choice, Evidence, UNKNOWN, choose, one_provider};
use super::relay::{self, Searched};
use super::request::{Request, UserAgents, endpoints_of, endpoints_perhaps_of, host_fields};
use super::secret::{Lately, Secret};
use super::ssrf::{self, Hosts};
use super::{Carried, Connection, Credential, DnsVerdict, Imds, NoRequest, RecognisedBy, Sensitivity, Verdict};
use crate::catalogue::{Catalogue, Endpoint, HeaderRule, PathMatch, Recognised, is_shared};
use crate::conn::{self, Conn};
use crate::packet::Timestamp;
use crate::proto::dns;
use crate::proto::http::{Head, Message, Transaction};

/// Key of credential fingerprints unless the configuration sets one: fixed, so that replays and sensors agree.
pub const DEFAULT_FINGERPRINT_KEY: &[u8] = b"imdswatch fingerprint key 1";
/// Pairs of client and address whose last provider is remembered.
pub const MEMORY: usize = 4096;

/// Settings.
#[derive(Clone)]
pub struct Config {
    /// Key of `imds.credential.fingerprint`.
    pub fingerprint_key: Vec<u8>,
    /// Look for other targets in requests (SSRF).
    pub ssrf: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { fingerprint_key: DEFAULT_FINGERPRINT_KEY.to_vec(), ssrf: true }
    }
}

impl std::fmt::Debug for Config {
    /// Never the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

/// Longest body of an ordinary answer in which a credential is looked for, in bytes: several times the longest of them.
const LONGEST_SHAPED: usize = 8 * 1024;

/// The matcher.
#[derive(Debug)]
pub struct Detector {
    catalogue: Arc<Catalogue>,
    config: Config,
    fingerprints: Fingerprints,
    lately: Lately,
    memory: Memory,
    targets: TargetCache,
    agents: UserAgents,
    forms: Forms,
    /// Keys under which documents hold secrets.
    secret_names: Option<AhoCorasick>,
}

impl Detector {
    /// A matcher without memory.
    pub fn new(catalogue: Arc<Catalogue>, config: Config) -> Self {
        // a word too many for it finds nothing, and harms nothing
        let secret_names = AhoCorasick::new(&catalogue.credential_keys().secret).ok();
        Self {
            catalogue,
            secret_names,
            fingerprints: Fingerprints::new(&config.fingerprint_key),
            lately: Lately::default(),
            config,
            memory: Memory::default(),
            targets: TargetCache::default(),
            agents: UserAgents::default(),
            forms: Forms::default(),
        }
    }

    /// What is known of metadata services.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// Whether connections to this end are metadata traffic whatever they carry (contract section 3, rule 1).
    #[inline]
    pub fn metadata_endpoint(&self, server: conn::Endpoint) -> bool {
        self.catalogue.is_metadata(canonical_ip(server.ip), server.port)
    }

    /// Whether the body of the response to `request` may tell anything, if the server is at no metadata address; either of
    /// `ports` may be its. Says yes rather than no: this is asked before the response is read.
    pub fn reads_response(&self, request: &Message, ports: [u16; 2]) -> bool {
        let (head, catalogue) = (&request.head, &self.catalogue);
        let mut hosts = host_fields(head).filter_map(canonical_host);
        let target = Target::new(head.target());
        let Some(path) = plain_path(target.path).filter(|_| target.authority.is_none()) else { return true };
        catalogue.paths_like(path, target.query).iter().any(|m| ports.iter().any(|port| is_possible(m, head, *port)))
            || hosts.any(|host| {
                !endpoints_of(&host, catalogue).is_empty() || !endpoints_perhaps_of(&host, catalogue).is_empty()
            })
    }

    /// Judges an HTTP exchange. `search`: look for credential-shaped tokens in it.
    pub fn http(&mut self, tx: &Transaction, search: bool) -> Verdict {
        let by_address = self.metadata_endpoint(tx.conn.server);
        let (remembered, own);
        let request = match &tx.request {
            None => None,
            Some(message) => {
                let target = asked::target(&message.head);
                let asked: &RequestTarget = if by_address {
                    remembered = self.targets.asked(&self.catalogue, tx, message, &target);
                    &remembered
                } else {
                    own = RequestTarget::new(&self.catalogue, tx, message, &target);
                    &own
                };
                Some(Request::new(message, target, asked))
            }
        };
        let mut issued = Vec::new();
        let imds = self.imds(tx, request.as_ref(), by_address, &mut issued);
        let carried = match search {
            true => self.carried(tx, request.as_ref(), imds.is_some()),
            false => Carried::default(),
        };
        let is_leg = || imds.as_ref().is_some_and(|imds| imds.recognised_by == RecognisedBy::Name);
        let hosts = match &request {
            Some(request) if request.asked.named.is_empty() => Hosts::Ordinary,
            Some(request) if is_leg() && self.speaks_protocol(request, &request.asked.named) => Hosts::Own,
            _ => Hosts::Unknown,
        };
        let named = match self.config.ssrf {
            true => ssrf::judge_knowing(hosts, tx, imds.as_ref(), &self.catalogue),
            false => Verdict::default(),
        };
        let shaped = if imds.is_none() { self.shaped(tx) } else { None };
        Verdict { imds: imds.map(Arc::new), issued, shaped, carried, ..named }
    }

    /// The credential in the answer of a server that is no metadata service, by the markers of the catalogue (contract
    /// section 4, relay, across sensors). A glance at the bytes comes first: hardly any answer has the name of a secret.
    fn shaped(&self, tx: &Transaction) -> Option<Box<Credential>> {
        let response = tx.response.as_ref().filter(|response| response.body.captured.len() <= LONGEST_SHAPED)?;
        let content = Content::new(&response.body.captured, response.head.field("content-encoding"));
        if content.bytes().len() > LONGEST_SHAPED
            || !self.secret_names.as_ref().is_some_and(|names| names.is_match(content.bytes()))
        {
            return None;
        }
        let answer = Answer::new(response, &content, self.catalogue.credential_keys());
        let entries = self.catalogue.paths().iter().map(|path| path.entry);
        let proved = entries.filter(|entry| entry.kind.is_some() && !entry.proof.is_empty() && answer.proves(entry));
        let best = proved.max_by_key(|entry| entry.proof.len())?;
        let credential = Credential { issued: false, ..answer.credential(best, &self.fingerprints) };
        credential.fingerprint.is_some().then(|| Box::new(credential))
    }

    /// What may be an issued credential that leaves; what was searched before is not searched again.
    fn carried(&self, tx: &Transaction, request: Option<&Request<'_>>, is_metadata: bool) -> Carried {
        let remembered = request.and_then(|request| request.asked.remembered.as_ref());
        let searched = Searched {
            target: remembered.map(|remembered| remembered.tokens.as_slice()),
            // those of ordinary requests are not remembered
            agents: is_metadata.then_some(&self.agents),
        };
        relay::tokens(&self.catalogue, tx, is_metadata, searched)
    }

    /// Judges a DNS transaction. `search`: look for credential-shaped tokens in it.
    pub fn dns(&self, tx: &dns::Transaction, search: bool) -> DnsVerdict {
        super::names::judge(&self.catalogue, tx, search)
    }

    /// A connection to a metadata address in which no request could be read; `None` for other connections.
    pub fn connection(&self, conn: Conn, why: NoRequest, first: Timestamp, last: Timestamp) -> Option<Connection> {
        // in shared space only a request tells
        if !self.metadata_endpoint(conn.server) || is_shared(conn.server.ip) {
            return None;
        }
        let endpoints = self.catalogue.endpoints_at(canonical_ip(conn.server.ip));
        let on_port: Vec<_> = endpoints.iter().copied().filter(|e| e.ports.contains(&conn.server.port)).collect();
        let of = |list: &[&'static Endpoint]| Some((one_provider(list)?, list.first()?.service.as_str()));
        let (provider, service) = of(endpoints).or_else(|| of(&on_port)).unwrap_or((UNKNOWN, "imds"));
        Some(Connection { conn, why, first, last, provider, service })
    }

    /// What makes the exchange metadata traffic; the secrets of its answer are added to `issued`.
    fn imds(
        &mut self,
        tx: &Transaction,
        request: Option<&Request<'_>>,
        by_address: bool,
        issued: &mut Vec<Secret>,
    ) -> Option<Imds> {
        let catalogue = Arc::clone(&self.catalogue);
        let named = request.map_or(&[][..], |r| &r.asked.named);
        let matches = request.map_or(&[][..], |r| &r.asked.matches);
        let at_address = catalogue.endpoints_at(canonical_ip(tx.conn.server.ip));
        let by_address = by_address
            && (!is_shared(tx.conn.server.ip) || request.is_some_and(|r| r.asked.is_meant_for(at_address, r.head)));
        if !by_address && named.is_empty() {
            // Paths are shared with ordinary services: look at the answer only where it could prove something.
            let port = tx.conn.server.port;
            let request = request?;
            if !matches.iter().any(|m| is_possible(m, request.head, port)) {
                return None;
            }
        }
        let content = tx.response.as_ref().map(|r| Content::new(&r.body.captured, r.head.encodings().as_deref()));
        let answer = tx.response.as_ref().zip(content.as_ref());
        let answer = answer.map(|(response, content)| Answer::new(response, content, catalogue.credential_keys()));
        let answer = answer.as_ref();
        let mut by_name = None;
        if by_address || !named.is_empty() {
            let (by, endpoints) = match by_address {
                true => (RecognisedBy::Address, at_address.to_vec()),
                false => (RecognisedBy::Name, named.to_vec()),
            };
            let evidence = Evidence {
                catalogue: &catalogue,
                request,
                response: tx.response.as_ref().map(|r| &r.head),
                answer,
                port: by_address.then_some(tx.conn.server.port),
                named,
                matches,
                last: self.memory.last(&tx.conn),
            };
            let choice = choose(endpoints, &evidence);
            let forged = by == RecognisedBy::Name
                && request.is_some_and(|request| {
                    request.asked.by_host_field
                        // where the address can be any, only the name tells
                        && !named.iter().any(|endpoint| endpoint.addresses.is_empty())
                        && named.iter().all(|endpoint| !endpoint.addresses.is_empty())
                        && !self.is_answered(answer, &choice)
                        && !self.speaks_protocol(request, named)
                });
            by_name = (!forged).then_some((by, choice));
        }
        let (by, choice) = match by_name {
            Some(found) => found,
            None => self.elsewhere(tx, request?, answer, matches)?,
        };
        let imds = self.describe(tx, request, answer, (by, &choice), issued);
        let success = answer.is_some_and(Answer::is_success);
        if imds.provider != UNKNOWN && by == RecognisedBy::Address && (choice.answered || success && choice.firm) {
            self.memory.record(&tx.conn, imds.provider);
        }
        Some(imds)
    }

    /// Whether a metadata service answered, by its own headers or by a credential: a Host field alone proves nothing.
    fn is_answered(&self, answer: Option<&Answer<'_>>, choice: &Choice) -> bool {
        let proves = |answer: &Answer<'_>| {
            choice.entry.is_some_and(|found| answer.proves(found.path.entry))
                || self.proved_by_other(choice, answer).is_some()
        };
        choice.answered || answer.is_some_and(proves)
    }

    /// Whether a request is made as the service's own clients make theirs: with a session token, a request for one, or the
    /// header that the service wants, by a known client. Nobody forges that to try a server out.
    fn speaks_protocol(&self, request: &Request<'_>, endpoints: &[&'static Endpoint]) -> bool {
        let is_sent =
            |rule: &HeaderRule| request.head.values(&rule.name).any(|value| rule.fits(rule.name.as_bytes(), value));
        let speaks = |endpoint: &&'static Endpoint| {
            endpoint.client_headers.iter().any(is_sent)
                || endpoint.session_header.as_ref().is_some_and(is_sent)
                || endpoint.session_ttl_header.as_deref().is_some_and(|name| request.head.field(name).is_some())
        };
        let agent = request.head.field("user-agent").unwrap_or_default();
        let is_known = || !self.catalogue.is_tool(agent) && self.catalogue.agents_called(agent).next().is_some();
        endpoints.iter().any(speaks) && is_known()
    }

    /// Rules 3 and 4: a server that neither its address nor its name tells.
    fn elsewhere(
        &self,
        tx: &Transaction,
        request: &Request<'_>,
        answer: Option<&Answer<'_>>,
        matches: &[PathMatch],
    ) -> Option<(RecognisedBy, Choice)> {
        let port = tx.conn.server.port;
        let allowed = |m: &&PathMatch| m.path.entry.has_required_headers(request.head.fields());
        let by_path = |m: &&PathMatch| is_by_path(m, port);
        let proved = |m: &&PathMatch| is_provable(m) && answer.is_some_and(|a| a.proves(m.path.entry));
        let best = |test: &dyn Fn(&&PathMatch) -> bool| {
            let fits = matches.iter().filter(|m| allowed(m) && test(m));
            fits.max_by_key(|m| (m.fit.literals, m.fit.exactness, std::cmp::Reverse(m.order))).copied()
        };
        let (by, found) = best(&by_path)
            .map(|m| (RecognisedBy::Path, m))
            .or_else(|| best(&proved).map(|m| (RecognisedBy::Response, m)))?;
        let entry = found.path.entry;
        let endpoints = found.path.endpoints.clone();
        let choice = Choice {
            provider: &entry.provider,
            service: &entry.service,
            endpoints,
            entry: Some(found),
            answered: false,
            firm: true,
        };
        Some((by, choice))
    }
}

/// Rules 3 and 4, as far as the request goes: where neither address nor name tells, the answer is looked at only then.
fn is_possible(found: &PathMatch, request: &Head, port: u16) -> bool {
    found.path.entry.has_required_headers(request.fields()) && (is_by_path(found, port) || is_provable(found))
}

fn is_credential(found: &PathMatch) -> bool {
    found.path.entry.sensitivity == Sensitivity::Credential
}

/// Rule 3: an entry of any address, or a credential path on a listed port of an endpoint known by its paths.
fn is_by_path(found: &PathMatch, port: u16) -> bool {
    let listens = |e: &&'static Endpoint| e.by == Recognised::Path && e.ports.contains(&port);
    found.path.entry.any_address || is_credential(found) && found.path.endpoints.iter().any(listens)
}

/// Rule 4, as far as the request goes: a credential path whose answer can prove itself.
fn is_provable(found: &PathMatch) -> bool {
    is_credential(found) && !found.path.entry.proof.is_empty() && found.path.endpoints.iter().any(|e| e.by_address())
}

/// Which provider last answered at an address to a client.
#[derive(Debug, Default)]
struct Memory {
    last: HashMap<(IpAddr, IpAddr), &'static str, foldhash::fast::RandomState>,
    order: VecDeque<(IpAddr, IpAddr)>,
}

impl Memory {
    fn last(&self, conn: &Conn) -> Option<&'static str> {
        self.last.get(&(conn.client.ip, conn.server.ip)).copied()
    }

    fn record(&mut self, conn: &Conn, provider: &'static str) {
        let key = (conn.client.ip, conn.server.ip);
        if self.last.insert(key, provider).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests;
