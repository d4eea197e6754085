//! Who asks, by the form of its request (contract section 4, actor): shape, User-Agent family, and which known client has
//! both. What is found out about one form is remembered: few are in use at a time.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::catalogue::{self, Catalogue, ClientKind, HeaderRole, RequestShape, ShapeHeader, VALUED};
use crate::memo::Memo;
use crate::proto::http::{Head, Message};

/// Most headers of a request that are looked at; one with more has no known client's shape.
const MOST_HEADERS: usize = 64;
/// Most products of a User-Agent that make its family.
const MOST_PRODUCTS: usize = 8;
/// Longest product, in bytes: shorter than what would make a secret out of one.
const PRODUCT: usize = 15;
/// Most forms that are remembered.
const MOST_FORMS: usize = 512;

/// Who asks, as far as the form of a request tells.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Hash of the request's shape; `None` where its headers were not seen whole.
    pub shape: Option<Shape>,
    /// The User-Agent's products without versions; empty without User-Agent.
    pub family: Arc<str>,
    /// The client that has both.
    pub known: Option<&'static catalogue::Client>,
    /// What that makes of it.
    pub standing: Standing,
}

/// Hash of a shape; the same in all versions of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(pub u64);

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What shape and family together say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// An SDK, agent or program that the catalogue knows, asking for what it asks for.
    Known,
    /// One of those, asking for something else.
    Strayed,
    /// A general tool, under its own name or under one that nobody knows.
    Tool,
    /// The User-Agent of one client with the shape of another.
    Mismatch,
    /// An SDK's, agent's or program's User-Agent with a shape that nobody has.
    Claimed,
    /// The shape of an HTTP library, under a name that nobody knows or, for programs' libraries, its own.
    Library,
    /// Neither is known.
    #[default]
    Unknown,
}

impl Client {
    /// `imds.client.name`.
    pub fn name(&self) -> Option<&'static str> {
        self.known.map(catalogue::Client::name)
    }

    /// What kind of client it is, where it is known.
    pub fn kind(&self) -> Option<ClientKind> {
        self.known.map(|known| known.kind)
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        (self.shape, &self.family, self.name(), self.standing)
            == (other.shape, &other.family, other.name(), other.standing)
    }
}

impl Eq for Client {}

/// What forms of requests tell, remembered.
#[derive(Debug, Default)]
pub(super) struct Forms {
    known: Memo<Arc<Form>, MOST_FORMS>,
}

/// What one form tells, before the target is looked at.
#[derive(Debug)]
struct Form {
    /// Hash of what it follows from.
    key: u128,
    shape: Option<Shape>,
    family: Arc<str>,
    /// Rows whose shape and family it has, in order.
    fitting: Vec<&'static catalogue::Client>,
    /// What it is if it has none.
    otherwise: Standing,
}

impl Forms {
    /// Who sends a request.
    pub(super) fn client(&mut self, catalogue: &Catalogue, message: &Message) -> Client {
        let head = &message.head;
        let whole = head.complete && !message.gap;
        let key = key(head, whole);
        let form = self.known.share(key, |form| form.key == key, || Form::new(catalogue, head, whole, key));
        form.client(head.target())
    }
}

impl Form {
    fn new(catalogue: &Catalogue, head: &Head, whole: bool, key: u128) -> Self {
        let user_agent = head.field("user-agent").unwrap_or_default();
        let family = family(user_agent).into();
        let called = |row: &&&'static catalogue::Client| row.is_called(user_agent);
        if !whole {
            let tool = catalogue.is_tool(user_agent);
            // without its shape, what is built on a tool's library cannot be told from the tool
            let may_be = |row: &&&'static catalogue::Client| !tool || row.kind == ClientKind::Tool;
            let fitting = catalogue.clients().iter().filter(called).filter(may_be).copied().collect();
            let otherwise = if tool { Standing::Tool } else { Standing::Unknown };
            return Self { key, shape: None, family, fitting, otherwise };
        }
        let request = request_shape(catalogue, head);
        let shaped: Vec<_> = match head.fields.len() {
            ..=MOST_HEADERS => catalogue.clients().iter().copied().filter(|row| row.has_shape(&request)).collect(),
            _ => Vec::new(),
        };
        let fitting: Vec<_> = shaped.iter().copied().filter(|row| row.is_called(user_agent)).collect();
        let claimed: Vec<_> = match user_agent {
            b"" => Vec::new(),
            _ => catalogue.clients().iter().filter(called).copied().collect(),
        };
        let tool = catalogue.is_tool(user_agent);
        // HTTP/1.0 without a name is what a shell or a raw socket sends, and no library
        let by_hand = user_agent.is_empty() && request.old;
        let otherwise = standing(&claimed, &shaped, tool || by_hand);
        Self { key, shape: Some(hash_of(&request)), family, fitting, otherwise }
    }

    fn client(&self, target: &[u8]) -> Client {
        let asking = self.fitting.iter().find(|row| row.asks_for(target)).copied();
        let known = asking.or_else(|| self.fitting.first().copied());
        let standing = match (asking, known) {
            (Some(row), _) if row.kind == ClientKind::Tool => Standing::Tool,
            (Some(row), _) if row.kind == ClientKind::Library => Standing::Library,
            (Some(_), _) => Standing::Known,
            // what is built on a tool's library and asks for something else may as well be the tool
            (None, Some(_)) if self.otherwise == Standing::Tool => Standing::Tool,
            (None, Some(_)) => Standing::Strayed,
            (None, None) => self.otherwise,
        };
        Client { shape: self.shape, family: Arc::clone(&self.family), known, standing }
    }
}

/// What a request is whose family `claimed` rows have, and whose shape `shaped` ones, but none both.
fn standing(claimed: &[&catalogue::Client], shaped: &[&catalogue::Client], tool: bool) -> Standing {
    let kinds = [ClientKind::Sdk, ClientKind::Agent, ClientKind::Program];
    let is_other = |row: &&catalogue::Client| !claimed.iter().any(|own| own.name() == row.name());
    if !claimed.is_empty() && !shaped.is_empty() && shaped.iter().all(is_other) {
        Standing::Mismatch
    } else if claimed.iter().any(|row| kinds.contains(&row.kind)) {
        Standing::Claimed
    } else if tool || !claimed.is_empty() || shaped.iter().any(|row| row.by_form) {
        Standing::Tool
    } else if shaped.is_empty() {
        Standing::Unknown
    } else {
        Standing::Library
    }
}

/// Hash of all that a form is made of.
fn key(head: &Head, whole: bool) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write_u8(u8::from(whole));
    write_version(&mut hasher, head);
    for (name, value) in head.fields() {
        hasher.write(name);
        hasher.write_u8(b'\n');
        if is_valued(name) || name.eq_ignore_ascii_case(b"user-agent") {
            hasher.write(value);
            hasher.write_u8(b'\n');
        }
    }
    hasher.finish128().as_u128()
}

fn write_version(hasher: &mut SipHasher13, head: &Head) {
    let (major, minor) = head.version.map_or((0, 9), |version| (version.major, version.minor));
    hasher.write(&[major, minor]);
}

fn is_valued(name: &[u8]) -> bool {
    VALUED.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// A request's headers as shapes see them.
pub(crate) fn request_shape<'h>(catalogue: &Catalogue, head: &'h Head) -> RequestShape<'h> {
    let (mut headers, mut sidecar) = (Vec::new(), false);
    for (name, value) in head.fields().take(MOST_HEADERS) {
        let name = if name == b":authority" { &b"host"[..] } else { name };
        match catalogue.header_role(name) {
            _ if name.starts_with(b":") => {}
            HeaderRole::Entity => {}
            HeaderRole::Sidecar => sidecar = true,
            role => headers.push(ShapeHeader { name, value, service: role == HeaderRole::Service }),
        }
    }
    let version = head.version.map(|version| (version.major, version.minor));
    let spelled = !sidecar && version.is_none_or(|(major, _)| major < 2);
    RequestShape { headers, spelled, old: version.is_none_or(|version| version < (1, 1)) }
}

/// The service's own headers are what a client wants, not how its library asks: they come and go with the request, so the
/// hash leaves them out.
fn hash_of(request: &RequestShape<'_>) -> Shape {
    let mut hasher = SipHasher13::new(); // shapes need to be stable, not secret
    hasher.write_u8(u8::from(request.old));
    for header in request.headers.iter().filter(|header| !header.service) {
        match request.spelled {
            true => hasher.write(header.name),
            false => hasher.write(&header.name.to_ascii_lowercase()),
        }
        if is_valued(header.name) {
            hasher.write_u8(b'=');
            header.value.iter().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| hasher.write_u8(*byte));
        }
        hasher.write_u8(b'\n');
    }
    Shape(hasher.finish128().h1)
}

/// The products of a User-Agent without versions and comments: `Boto3 Python Linux Botocore`.
pub(crate) fn family(user_agent: &[u8]) -> String {
    let mut out = String::new();
    let mut depth = 0_usize;
    let mut products = 0;
    for word in user_agent.split(|byte| matches!(byte, b' ' | b';' | b',' | b'\t')) {
        let was = depth;
        for byte in word {
            match byte {
                b'(' => depth = depth.saturating_add(1),
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let product: &[u8] = word.split(|byte| matches!(byte, b'/' | b'#' | b'(' | b')')).next().unwrap_or_default();
        if was > 0 || product.is_empty() || product.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        if products == MOST_PRODUCTS {
            break;
        }
        products = products.saturating_add(1);
        if !out.is_empty() {
            out.push(' ');
        }
        let shown = product.get(..PRODUCT).unwrap_or(product);
        out.extend(shown.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }));
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn families_have_no_versions() {
        for (sent, family) in [
            ("Boto3/1.43.117 Python/3.11.7 Linux/6.18 Botocore/1.43.117", "Boto3 Python Linux Botocore"),
            ("s3fs/1.90 (commit hash unknown; GnuTLS(gcrypt))", "s3fs"),
            ("aws-sdk-go-v2/1.48.0 ua/2.1 os/linux lang/go#1.26.8", "aws-sdk-go-v2 ua os lang"),
            ("curl/7.88.1", "curl"),
            ("Ruby", "Ruby"),
            ("2.0 x", "x"),
            ("", ""),
        ] {
            assert_eq!(super::family(sent.as_bytes()), family);
        }
        let secret = "IQoJb3JpZ2luX2VjEJr0123456789";
        assert!(super::family(secret.as_bytes()).len() < 16);
    }
}
