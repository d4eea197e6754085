//! What is known of metadata services, compiled to lookups: address → endpoints, name → endpoints, path → entries.
//!
//! The facts stand in `src/data/catalogue.toml`; a configuration may add to them in the same form. Everything is
//! `'static`: the built-in data is parsed once per process, additions and the list of paths are kept for good each time
//! they are loaded (some ten kilobytes per reload of a configuration), so that events can name entries without copying.

mod clients;
mod file;
mod headers;
mod pattern;
mod tree;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock, OnceLock};

use aho_corasick::AhoCorasick;
use foldhash::fast::FixedState;
use regex::Regex;

pub use clients::{Client, ClientKind, HeaderRole, RequestShape, ShapeHeader, ShapeRule, TokenUse, VALUED};
pub use file::{
    Additions, Agent, CatalogueError, CredentialKeys, Endpoint, Marker, PathEntry, Recognised, ScopeAt, Sensitivity,
    Session, Version, is_key,
};
pub use headers::{HeaderFacts, Headers};
pub use pattern::{Fit, HeaderChoice, HeaderRule, PathPattern, QueryRule};

use crate::text::glob::Glob;
use crate::text::percent;

use clients::ClientFile;
use file::File;
use tree::PathTree;

/// Form of the data file.
const SCHEMA: u32 = 1;
const TEXT: &str = include_str!("../data/catalogue.toml");

/// The data file, parsed.
static BUILTIN: LazyLock<Result<File, CatalogueError>> = LazyLock::new(parse);

/// Processes of the default allow list, by name.
pub fn allowed_processes() -> &'static [String] {
    BUILTIN.as_ref().map_or(&[], |data| &data.allow.processes)
}

/// Indicators, ready for lookups.
#[derive(Debug)]
pub struct Catalogue {
    data: &'static File,
    endpoints: Vec<&'static Endpoint>,
    paths: &'static [Path],
    agents: Vec<&'static Agent>,
    /// How clients ask: rows of the configuration first.
    clients: Vec<&'static Client>,
    client_facts: &'static ClientFile,
    /// Sorted by address; endpoints whose address alone makes traffic metadata traffic.
    v4: Vec<(u32, Vec<&'static Endpoint>)>,
    v6: Vec<(u128, Vec<&'static Endpoint>)>,
    /// Refuses nearly every other address at once.
    known: Known,
    /// Ports of such addresses that serve something else.
    excluded: Vec<(IpAddr, u16)>,
    names: HashMap<&'static str, Vec<&'static Endpoint>, FixedState>,
    /// Names without a dot, which may be anybody's own.
    short_names: HashMap<&'static str, Vec<&'static Endpoint>, FixedState>,
    name_globs: Vec<(&'static Glob, &'static Endpoint)>,
    /// Indices into `paths`.
    tree: PathTree,
    provable: Vec<usize>,
    headers: Arc<Headers>,
    credential_path: OnceLock<Option<Regex>>,
    credential_path_any_host: OnceLock<Option<Regex>>,
    literals: OnceLock<Option<AhoCorasick>>,
}

/// A path entry with the endpoints that have it.
#[derive(Debug)]
pub struct Path {
    /// The entry.
    pub entry: &'static PathEntry,
    /// Its endpoints.
    pub endpoints: Vec<&'static Endpoint>,
}

impl Path {
    /// Whether `endpoint` has this path.
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.endpoints.iter().any(|e| std::ptr::eq(*e, endpoint))
    }
}

/// A path entry that fits a path.
#[derive(Clone, Copy, Debug)]
pub struct PathMatch {
    /// Place in the catalogue, for ties.
    pub order: usize,
    /// The entry.
    pub path: &'static Path,
    /// How well it fits.
    pub fit: Fit,
}

/// Entries that fit the usual path of a metadata service.
const USUAL_MATCHES: usize = 8;

impl Catalogue {
    /// The compiled-in catalogue.
    ///
    /// # Errors
    /// Never in a released program: a test loads it.
    pub fn builtin() -> Result<Self, CatalogueError> {
        Self::with_additions(Additions::default())
    }

    /// The compiled-in catalogue and what a configuration adds, after it in order.
    ///
    /// # Errors
    /// An unknown class or endpoint, an id given twice, an entry without the fields that its kind needs.
    pub fn with_additions(mut additions: Additions) -> Result<Self, CatalogueError> {
        let data = BUILTIN.as_ref().map_err(Clone::clone)?;
        static CLIENTS: LazyLock<Result<ClientFile, CatalogueError>> = LazyLock::new(clients::parse);
        let client_facts = CLIENTS.as_ref().map_err(Clone::clone)?;
        resolve(data, &mut additions.path, &mut additions.agent)?;
        let added: &'static Additions = Box::leak(Box::new(additions));
        let mut new = Self {
            data,
            endpoints: data.endpoint.iter().chain(&added.endpoint).collect(),
            paths: &[],
            agents: data.agent.iter().chain(&added.agent).collect(),
            clients: added.client.iter().chain(&client_facts.client).collect(),
            client_facts,
            v4: Vec::new(),
            v6: Vec::new(),
            known: Known::default(),
            excluded: Vec::new(),
            names: HashMap::default(),
            short_names: HashMap::default(),
            name_globs: Vec::new(),
            tree: PathTree::default(),
            provable: Vec::new(),
            headers: Arc::default(),
            credential_path: OnceLock::new(),
            credential_path_any_host: OnceLock::new(),
            literals: OnceLock::new(),
        };
        new.check_ids(data.path.iter().chain(&added.path))?;
        new.index_endpoints();
        let entries = data.path.iter().chain(&added.path);
        let paths = entries.map(|entry| new.path(entry)).collect::<Result<Vec<_>, _>>()?;
        new.paths = Box::leak(paths.into_boxed_slice());
        new.index_paths();
        new.headers = Arc::new(Headers::new(&data.headers, &new.endpoints, new.paths));
        Ok(new)
    }

    /// Whether a connection to this end is metadata traffic by its address (contract section 3, rule 1); in shared space it
    /// may be: only path or header of a request tell.
    #[inline]
    pub fn is_metadata(&self, ip: IpAddr, port: u16) -> bool {
        let endpoints = self.endpoints_at(ip);
        !endpoints.is_empty()
            && !self.is_other_service(ip.to_canonical(), port)
            && (!is_shared(ip) || endpoints.iter().any(|endpoint| endpoint.ports.contains(&port)))
    }

    /// Whether an address of a metadata service serves other things as well, here or in other networks.
    pub fn has_other_use(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        is_shared(ip) || self.excluded.iter().any(|(other, _)| *other == ip)
    }

    /// Services whose address this is, in catalogue order; IPv4-mapped addresses count as IPv4.
    #[inline]
    pub fn endpoints_at(&self, ip: IpAddr) -> &[&'static Endpoint] {
        let ip = ip.to_canonical();
        if !self.known.may_hold(ip) {
            return &[];
        }
        let found = match ip {
            IpAddr::V4(v4) => find(&self.v4, u32::from(v4)),
            IpAddr::V6(v6) => find(&self.v6, u128::from(v6)),
        };
        found.unwrap_or_default()
    }

    /// DNS, DHCP and time on a metadata address.
    fn is_other_service(&self, ip: IpAddr, port: u16) -> bool {
        matches!(port, 53 | 67 | 68 | 123) || self.excluded.contains(&(ip, port))
    }

    /// Services of which this is a name without a dot: it may be anybody's own.
    pub fn endpoints_named_shortly(&self, name: &str) -> &[&'static Endpoint] {
        self.short_names.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a name is one inside a cluster or overlay network.
    pub fn is_overlay_name(&self, name: &str) -> bool {
        is_below(&self.data.names.overlay, name)
    }

    /// Services of which this is a name, names without a dot aside; `name` in lower case without trailing dot.
    pub fn endpoints_named(&self, name: &str) -> Vec<&'static Endpoint> {
        let exact = self.names.get(name).into_iter().flatten().copied();
        let globbed = self.name_globs.iter().filter(|(glob, _)| glob.fits(name.as_bytes())).map(|(_, e)| *e);
        exact.chain(globbed).collect()
    }

    /// All services, in order.
    pub fn endpoints(&self) -> &[&'static Endpoint] {
        &self.endpoints
    }

    /// Services recognised by path that listen on `port`.
    pub fn path_endpoints_on(&self, port: u16) -> impl Iterator<Item = &'static Endpoint> {
        self.endpoints.iter().copied().filter(move |e| e.by == Recognised::Path && e.ports.contains(&port))
    }

    /// All paths, in order.
    pub fn paths(&self) -> &'static [Path] {
        self.paths
    }

    /// Credential paths whose answers prove themselves (rule 4, answers without request, upgrades), in order.
    pub fn provable_paths(&self) -> impl Iterator<Item = &'static Path> {
        self.provable.iter().filter_map(|at| self.paths.get(*at))
    }

    /// Entries that fit a normalised path, in order; those whose query rules do not fit `query` are left out.
    pub fn paths_like(&self, path: &str, query: &[u8]) -> Vec<PathMatch> {
        let mut found: Vec<PathMatch> = Vec::new();
        self.tree.patterns(path, &mut |(order, nth)| {
            let Some(known) = self.paths.get(order) else { return };
            let Some(fit) = known.entry.patterns.get(nth).map(PathPattern::known_fit) else { return };
            match found.iter_mut().find(|other| other.order == order) {
                Some(same) => same.fit = same.fit.max(fit),
                None if known.entry.query.iter().all(|rule| has_parameter(query, rule)) => {
                    if found.is_empty() {
                        found.reserve(USUAL_MATCHES);
                    }
                    found.push(PathMatch { order, path: known, fit });
                }
                None => {}
            }
        });
        found.sort_unstable_by_key(|found| found.order);
        found
    }

    /// Whether a path (with its query) looks like a credential path of a service that is not in the catalogue.
    pub fn is_credential_like(&self, path: &str) -> bool {
        matches(&self.credential_path, &self.data.generic.credential_path, path)
    }

    /// Whether only metadata services have such a path: for URLs whose host is not known to be one.
    pub fn is_credential_like_anywhere(&self, path: &str) -> bool {
        matches(&self.credential_path_any_host, &self.data.generic.credential_path_any_host, path)
    }

    /// Whether a normalised path is an index above paths that give credentials away.
    pub fn is_above_credentials(&self, path: &str) -> bool {
        let credentials = self.paths.iter().filter(|path| path.entry.sensitivity == Sensitivity::Credential);
        let below = |sample: String| sample.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        path.len() > 1 && credentials.flat_map(|path| &path.entry.patterns).any(|pattern| below(pattern.sample()))
    }

    /// Whether a normalised path of a provider lists the names below which credentials stand, as those of roles.
    pub fn lists_credentials(&self, provider: &str, path: &str) -> bool {
        let is_credential = |found: &PathMatch| {
            found.path.entry.sensitivity == Sensitivity::Credential && found.path.entry.provider == provider
        };
        path.len() > 1 && self.paths_like(&format!("{path}/name"), b"").iter().any(is_credential)
    }

    /// Finds every address and name as it is usually written: addresses also as one number in decimal and hexadecimal.
    pub fn literals(&self) -> Option<&AhoCorasick> {
        let build = || {
            let v4 = self.v4.iter().map(|(address, _)| Ipv4Addr::from(*address));
            let v4 = v4.flat_map(|ip| [ip.to_string(), ip.to_bits().to_string(), format!("{:#x}", ip.to_bits())]);
            let v6 = self.v6.iter().map(|(address, _)| Ipv6Addr::from(*address).to_string());
            let names = self.names.keys().filter(|name| name.contains('.')).map(|name| (*name).to_owned());
            // in one order, so that what overlaps is found the same way in each run
            let words: BTreeSet<String> = v4.chain(v6).chain(names).collect();
            AhoCorasick::builder().ascii_case_insensitive(true).build(&words).ok()
        };
        self.literals.get_or_init(build).as_ref()
    }

    /// Programs that claim this User-Agent.
    pub fn agents_called<'a>(&'a self, user_agent: &'a [u8]) -> impl Iterator<Item = &'static Agent> + 'a {
        self.agents.iter().copied().filter(move |agent| agent.user_agents.iter().any(|g| g.fits(user_agent)))
    }

    /// All known programs.
    pub fn agents(&self) -> &[&'static Agent] {
        &self.agents
    }

    /// How clients ask, rows of the configuration first.
    pub fn clients(&self) -> &[&'static Client] {
        &self.clients
    }

    /// Whether a kind of path gives an identity document without signature or token.
    pub fn is_unsigned(&self, path_id: &str) -> bool {
        self.client_facts.unsigned.iter().any(|id| id == path_id)
    }

    /// What a header is for, as far as the shape of a request is concerned.
    pub fn header_role(&self, name: &[u8]) -> HeaderRole {
        let (facts, known) = (self.client_facts, self.headers.facts(name));
        let is_one = |list: &[String]| list.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        let begins = |known: &String| match known.strip_suffix('*') {
            Some(start) => name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes())),
            None => name.eq_ignore_ascii_case(known.as_bytes()),
        };
        if is_one(&facts.entity) {
            HeaderRole::Entity
        } else if is_one(&facts.service) || known.client || known.session {
            HeaderRole::Service
        } else if facts.sidecar.iter().any(begins) {
            HeaderRole::Sidecar
        } else {
            HeaderRole::Library
        }
    }

    /// Whether a User-Agent is that of a general tool or library.
    pub fn is_tool(&self, user_agent: &[u8]) -> bool {
        self.data.user_agents.tools.iter().any(|g| g.fits(clients::compared(user_agent)))
    }

    /// Whether a User-Agent is that of a browser or of something that fetches or renders what users give it.
    pub fn is_renderer(&self, user_agent: &[u8]) -> bool {
        self.data.user_agents.renderers.iter().any(|g| g.fits(clients::compared(user_agent)))
    }

    /// What is known of header fields by their names.
    pub fn headers(&self) -> &Arc<Headers> {
        &self.headers
    }

    /// Where documents that return credentials hold what.
    pub fn credential_keys(&self) -> &'static CredentialKeys {
        &self.data.credential
    }

    /// Domains under which any name leads to an address that the asker chose.
    pub fn wildcard_dns(&self) -> &'static [String] {
        &self.data.names.wildcard_dns
    }

    /// Whether a host (lower case) is a provider's own API.
    pub fn is_provider_api(&self, host: &str) -> bool {
        is_below(&self.data.names.api_domains, host)
    }

    fn check_ids(&self, paths: impl Iterator<Item = &'static PathEntry>) -> Result<(), CatalogueError> {
        let endpoints = self.endpoints.iter().map(|e| ("endpoint", &e.id));
        let agents = self.agents.iter().map(|a| ("agent", &a.id));
        let mut seen = std::collections::HashSet::new();
        for (table, id) in endpoints.chain(agents).chain(paths.map(|p| ("path", &p.id))) {
            if !seen.insert((table, id.get_ref())) {
                return Err(CatalogueError::new(id.span(), format!("{table} `{}` is given twice", id.get_ref())));
            }
        }
        Ok(())
    }

    fn index_endpoints(&mut self) {
        for &endpoint in &self.endpoints {
            if endpoint.not_metadata() {
                let pairs = endpoint.addresses.iter().flat_map(|ip| endpoint.ports.iter().map(|port| (*ip, *port)));
                self.excluded.extend(pairs);
            }
            if !endpoint.by_address() {
                continue;
            }
            for ip in &endpoint.addresses {
                let ip = ip.to_canonical();
                self.known.insert(ip);
                match ip {
                    IpAddr::V4(v4) => insert(&mut self.v4, u32::from(v4), endpoint),
                    IpAddr::V6(v6) => insert(&mut self.v6, u128::from(v6), endpoint),
                }
            }
            for glob in &endpoint.domains {
                match glob.literal() {
                    Some(name) if !name.contains('.') => self.short_names.entry(name).or_default().push(endpoint),
                    Some(name) => self.names.entry(name).or_default().push(endpoint),
                    None => self.name_globs.push((glob, endpoint)),
                }
            }
        }
    }

    /// An entry with its endpoints.
    fn path(&self, entry: &'static PathEntry) -> Result<Path, CatalogueError> {
        let mut endpoints = Vec::new();
        for id in &entry.endpoints {
            let found = self.endpoints.iter().find(|e| e.id() == id);
            endpoints.push(*found.ok_or_else(|| {
                CatalogueError::new(entry.id.span(), format!("path `{}`: there is no endpoint `{id}`", entry.id()))
            })?);
        }
        Ok(Path { entry, endpoints })
    }

    fn index_paths(&mut self) {
        for (order, Path { entry, .. }) in self.paths.iter().enumerate() {
            for (nth, pattern) in entry.patterns.iter().enumerate() {
                self.tree.insert(pattern, (order, nth));
            }
            if entry.sensitivity == Sensitivity::Credential && !entry.proof.is_empty() {
                self.provable.push(order);
            }
        }
    }
}

fn parse() -> Result<File, CatalogueError> {
    let mut file: File = toml::from_str(TEXT)?;
    if file.schema != SCHEMA {
        return Err(CatalogueError::new(0..0, format!("schema {} where {SCHEMA} is understood", file.schema)));
    }
    let paths = file.path.iter().map(|p| (&p.id, &p.sources));
    let others =
        file.endpoint.iter().map(|e| (&e.id, &e.sources)).chain(file.agent.iter().map(|a| (&a.id, &a.sources)));
    for (id, named) in paths.chain(others) {
        if let Some(source) = named.iter().find(|name| !file.sources.contains_key(name.as_str())) {
            return Err(CatalogueError::new(id.span(), format!("`{}`: source `{source}` is not listed", id.get_ref())));
        }
    }
    let (mut path, mut agent) = (std::mem::take(&mut file.path), std::mem::take(&mut file.agent));
    resolve(&file, &mut path, &mut agent)?;
    Ok(File { path, agent, ..file })
}

/// Fills in the classes of all patterns and checks what an entry's kind needs.
fn resolve(file: &File, paths: &mut [PathEntry], agents: &mut [Agent]) -> Result<(), CatalogueError> {
    for path in paths {
        let span = path.id.span();
        let error = |what: String| CatalogueError::new(span.clone(), format!("path `{}`: {what}", path.id.get_ref()));
        for pattern in &mut path.patterns {
            pattern.resolve(&file.classes).map_err(|class| error(format!("there is no class `{class}`")))?;
        }
        if path.sensitivity == Sensitivity::Credential && path.kind.is_none() {
            return Err(error("a credential path needs `kind`".to_owned()));
        }
        if path.sensitivity == Sensitivity::Credential && !path.names_secret(&file.credential) {
            return Err(error("which key of the answer holds the secret? Say it with `secret = [\"KEY\"]`".to_owned()));
        }
        if path.any_address && path.required_headers.is_empty() {
            return Err(error("`any_address` needs `required_headers`".to_owned()));
        }
    }
    for agent in agents {
        for pattern in &mut agent.patterns {
            pattern.resolve(&file.classes).map_err(|class| {
                CatalogueError::new(
                    agent.id.span(),
                    format!("agent `{}`: there is no class `{class}`", agent.id.get_ref()),
                )
            })?;
        }
    }
    Ok(())
}

/// A set of addresses that may hold a few more than were put in: one bit for each of 1024 hashes. It is asked for both
/// ends of every packet.
#[derive(Debug, Default)]
struct Known([u64; 16]);

impl Known {
    /// Word and bit. The addresses of the catalogue need not be hidden from anybody, so the hash has no seed.
    fn place(ip: IpAddr) -> (usize, u64) {
        let number = match ip {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ v6.to_bits() as u64,
        };
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        (hash as usize / 64, 1 << (hash % 64))
    }

    fn insert(&mut self, ip: IpAddr) {
        let (word, bit) = Self::place(ip);
        self.0[word] |= bit;
    }

    #[inline]
    fn may_hold(&self, ip: IpAddr) -> bool {
        let (word, bit) = Self::place(ip);
        self.0[word] & bit != 0
    }
}

/// Whether an address lies in shared address space (RFC 6598), which clusters and overlay networks use as they like.
pub fn is_shared(ip: IpAddr) -> bool {
    matches!(ip.to_canonical(), IpAddr::V4(v4) if v4.octets().starts_with(&[100]) && v4.octets()[1] & 0xC0 == 0x40)
}

/// Whether a name is one of `domains` or below one.
fn is_below(domains: &[String], name: &str) -> bool {
    domains.iter().any(|d| name.strip_suffix(d.as_str()).is_some_and(|head| head.is_empty() || head.ends_with('.')))
}

fn find<K: Ord + Copy, V>(table: &[(K, Vec<V>)], key: K) -> Option<&[V]> {
    let at = table.binary_search_by_key(&key, |(k, _)| *k).ok()?;
    table.get(at).map(|(_, found)| found.as_slice())
}

fn insert<K: Ord + Copy, V>(table: &mut Vec<(K, Vec<V>)>, key: K, value: V) {
    let at = match table.binary_search_by_key(&key, |(k, _)| *k) {
        Ok(at) => at,
        Err(at) => {
            table.insert(at, (key, Vec::new()));
            at
        }
    };
    if let Some((_, found)) = table.get_mut(at) {
        found.push(value);
    }
}

/// Regular expressions cost more to compile than the rest of the catalogue: only when first needed.
fn matches(cell: &OnceLock<Option<Regex>>, source: &str, path: &str) -> bool {
    cell.get_or_init(|| Regex::new(source).ok()).as_ref().is_some_and(|regex| regex.is_match(path))
}

fn has_parameter(query: &[u8], rule: &QueryRule) -> bool {
    query.split(|b| *b == b'&').any(|pair| {
        let mut halves = pair.splitn(2, |b| *b == b'=');
        let name = percent::decode(halves.next().unwrap_or_default());
        let value = percent::decode(halves.next().unwrap_or_default());
        rule.fits(&name, &value)
    })
}

#[cfg(test)]
mod tests;
