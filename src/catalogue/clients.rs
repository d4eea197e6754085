//! How real clients of metadata services ask: the facts of `src/data/clients.toml`, and rows that a configuration adds.
//!
//! A shape is a rule: versions of a client differ in what they send besides, so a rule names headers in their order, some
//! of them optional. Matching takes time linear in rule and request.

use serde::Deserialize;
use toml::Spanned;

use super::CatalogueError;
use crate::text::glob::Glob;

/// Headers whose values belong to the shape.
pub const VALUED: [&str; 3] = ["Accept", "Accept-Encoding", "Connection"];

const TEXT: &str = include_str!("../data/clients.toml");

/// The whole data file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientFile {
    pub(super) service: Vec<String>,
    pub(super) entity: Vec<String>,
    pub(super) sidecar: Vec<String>,
    pub(super) unsigned: Vec<String>,
    pub(super) client: Vec<Client>,
}

/// The built-in rows.
pub(super) fn parse() -> Result<ClientFile, CatalogueError> {
    Ok(toml::from_str(TEXT)?)
}

/// A client, or one of its ways of asking.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `imds.client.name`.
    pub name: Spanned<String>,
    /// What it is.
    pub kind: ClientKind,
    /// User-Agents; an empty one is that none is sent.
    #[serde(default)]
    pub user_agents: Vec<Glob>,
    /// User-Agents under which it goes on with a session token that was issued to it.
    #[serde(default)]
    pub later: Vec<Glob>,
    /// Forms of its requests.
    pub shapes: Vec<ShapeRule>,
    /// How it spells the service's own headers; any way if none is named.
    #[serde(default)]
    pub own: Vec<String>,
    /// Whether a tool is known by its form, under whatever name: one that people type, not a library.
    #[serde(default)]
    pub by_form: bool,
    /// Request targets; any if none is named.
    #[serde(default)]
    pub targets: Vec<Glob>,
    /// How it uses session tokens.
    #[serde(default)]
    pub token: TokenUse,
    /// Where the facts come from.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// A cloud SDK.
    Sdk,
    /// Part of the system, or the cloud's own software.
    Agent,
    /// Another program with a client of its own.
    Program,
    /// A general tool, or a scripting language's library under its own name.
    Tool,
    /// An HTTP library under any name, or one of programs under its own.
    Library,
}

/// How a client uses session tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenUse {
    /// Asks for one each time, right before.
    Each,
    /// Uses one again until it expires.
    Cached,
    /// Lists roles without one, and fetches with one.
    Mixed,
    /// Has none.
    Never,
    /// Not known.
    #[default]
    Unsaid,
}

/// What a header is for, as far as shapes are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRole {
    /// Part of the shape.
    Library,
    /// The service's own.
    Service,
    /// About the body.
    Entity,
    /// Added by a sidecar.
    Sidecar,
}

/// A header of a request, as shapes see it.
#[derive(Clone, Copy, Debug)]
pub struct ShapeHeader<'h> {
    /// Name as sent.
    pub name: &'h [u8],
    /// Value as sent.
    pub value: &'h [u8],
    /// Whether it is the service's own.
    pub service: bool,
}

/// A request's headers without those about the body and those of sidecars.
#[derive(Clone, Debug)]
pub struct RequestShape<'h> {
    /// In order.
    pub headers: Vec<ShapeHeader<'h>>,
    /// Whether names are as their sender spelled them.
    pub spelled: bool,
    /// HTTP/1.0.
    pub old: bool,
}

impl Client {
    /// Its name.
    pub fn name(&self) -> &str {
        self.name.get_ref()
    }

    /// Whether a request has one of its forms, and spells the service's headers as it does.
    pub fn has_shape(&self, request: &RequestShape<'_>) -> bool {
        let is_own = |header: &ShapeHeader<'_>| {
            !header.service || self.own.iter().any(|own| same(own.as_bytes(), header.name, request.spelled))
        };
        (self.own.is_empty() || request.headers.iter().all(is_own)) && self.shapes.iter().any(|rule| rule.fits(request))
    }

    /// Whether it calls itself so; empty for no User-Agent.
    pub fn is_called(&self, user_agent: &[u8]) -> bool {
        self.user_agents.iter().any(|glob| glob.fits(compared(user_agent)))
    }

    /// Whether it goes on under this name with a session token that was issued to it.
    pub fn goes_on_as(&self, user_agent: &[u8]) -> bool {
        self.later.iter().any(|glob| glob.fits(compared(user_agent)))
    }

    /// Whether it asks for such targets.
    pub fn asks_for(&self, target: &[u8]) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|glob| glob.fits(target))
    }
}

/// The form of a request, as written: `Host User-Agent? Accept=*/* +`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ShapeRule {
    old: bool,
    places: Vec<Place>,
    /// Whether it says where the service's headers stand.
    placed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Any number of the service's own headers.
    Service,
    Header {
        name: String,
        optional: bool,
        value: Option<String>,
    },
}

impl TryFrom<String> for ShapeRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace().peekable();
        let old = words.next_if_eq(&"1.0").is_some();
        let places = words.map(place).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { old, placed: places.contains(&Place::Service), places })
    }
}

fn place(word: &str) -> Result<Place, String> {
    if word == "+" {
        return Ok(Place::Service);
    }
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
    let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(format!("`{word}` is no header of a shape"));
    }
    if value.is_some() && !VALUED.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Err(format!("`{word}`: only the values of {} belong to a shape", VALUED.join(", ")));
    }
    Ok(Place::Header { name: name.to_owned(), optional, value })
}

impl ShapeRule {
    fn fits(&self, request: &RequestShape<'_>) -> bool {
        if self.old != request.old {
            return false;
        }
        let mut rest = request.headers.iter().filter(|header| self.placed || !header.service).peekable();
        for place in &self.places {
            match place {
                Place::Service => while rest.next_if(|header| header.service).is_some() {},
                Place::Header { name, optional, value } => {
                    let is_it = |header: &&ShapeHeader<'_>| {
                        same(name.as_bytes(), header.name, request.spelled)
                            && value.as_ref().is_none_or(|value| has_value(value, header.value))
                    };
                    if rest.next_if(is_it).is_none() && !optional {
                        return false;
                    }
                }
            }
        }
        rest.next().is_none()
    }
}

fn same(name: &[u8], sent: &[u8], spelled: bool) -> bool {
    if spelled { name == sent } else { name.eq_ignore_ascii_case(sent) }
}

/// Whether a value is the one of a rule: blanks do not count, and `*` at the rule's end is any end.
fn has_value(wanted: &str, value: &[u8]) -> bool {
    let mut sent = value.iter().filter(|byte| !byte.is_ascii_whitespace());
    let (wanted, open) = wanted.strip_suffix('*').map_or((wanted, false), |start| (start, true));
    wanted.bytes().all(|byte| sent.next() == Some(&byte)) && (open || sent.next().is_none())
}

/// As much of a User-Agent as is compared with patterns, of which there are many: names stand at its beginning.
pub(super) fn compared(user_agent: &[u8]) -> &[u8] {
    const MOST: usize = 512;
    user_agent.get(..MOST).unwrap_or(user_agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'h>(text: &'h str, service: &[&str]) -> RequestShape<'h> {
        let header = |line: &'h str| {
            let (name, value) = line.split_once(": ").unwrap_or((line, "x"));
            ShapeHeader { name: name.as_bytes(), value: value.as_bytes(), service: service.contains(&name) }
        };
        RequestShape { headers: text.lines().map(header).collect(), spelled: true, old: false }
    }

    fn rule(text: &str) -> ShapeRule {
        ShapeRule::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn rules_know_order_spelling_values_and_what_is_optional() {
        let sent = "Host: a\nUser-Agent: b\nAccept-Encoding: gzip, deflate, br\nAccept: */*\nX-T: 1";
        let fits = |text: &str| rule(text).fits(&request(sent, &["X-T"]));
        assert!(fits("Host User-Agent Accept-Encoding=gzip,deflate* Accept=*/* +"));
        assert!(fits("Host User-Agent Accept-Encoding Accept"), "where it does not say, the service's stand anywhere");
        assert!(fits("Host User-Agent Cookie? Accept-Encoding Accept=*/* +"));
        for other in [
            "Host User-Agent Accept-Encoding=gzip,deflate Accept +",
            "Host Accept-Encoding User-Agent Accept +",
            "host User-Agent Accept-Encoding Accept +",
            "Host + User-Agent Accept-Encoding Accept",
            "Host User-Agent Accept-Encoding +",
            "1.0 Host User-Agent Accept-Encoding Accept +",
        ] {
            assert!(!fits(other), "{other}");
        }
        let lower = RequestShape { spelled: false, ..request(sent, &["X-T"]) };
        assert!(rule("host user-agent accept-encoding accept").fits(&lower));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in ["Host?? Accept", "Ho:st", "=x", "Accept ?", "Host=a"] {
            assert!(ShapeRule::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_built_in_rows_are_read() {
        let file = parse().unwrap();
        assert!(file.client.len() > 30);
        for client in &file.client {
            assert!(!client.shapes.is_empty(), "{}", client.name());
            assert!(client.kind == ClientKind::Library || !client.user_agents.is_empty(), "{}", client.name());
            assert!(client.kind == ClientKind::Tool || !client.by_form, "{}", client.name());
        }
    }
}
