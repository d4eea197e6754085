//! Where a network output goes, as one word: `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]]…[/PATH][?QUERY]`.

use std::fmt;

use super::secret::Secret;

/// The protocols of network outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Elasticsearch or OpenSearch.
    Elasticsearch,
    /// Kafka.
    Kafka,
    /// Beats protocol version 2.
    Logstash,
    /// RFC 5424 in datagrams.
    SyslogUdp,
    /// RFC 5424, octet-counted, over TCP or TLS.
    SyslogTcp,
    /// Redis.
    Redis,
    /// HTTP requests to people's tools.
    Webhook,
    /// OTLP logs over HTTP.
    Otlp,
}

struct Scheme {
    name: &'static str,
    protocol: Protocol,
    tls: bool,
    port: u16,
}

const fn scheme(name: &'static str, protocol: Protocol, tls: bool, port: u16) -> Scheme {
    Scheme { name, protocol, tls, port }
}

const SCHEMES: &[Scheme] = &[
    scheme("elasticsearch+http", Protocol::Elasticsearch, false, 9200),
    scheme("elasticsearch+https", Protocol::Elasticsearch, true, 9200),
    scheme("kafka", Protocol::Kafka, false, 9092),
    scheme("kafka+tls", Protocol::Kafka, true, 9093),
    scheme("logstash", Protocol::Logstash, false, 5044),
    scheme("logstash+tls", Protocol::Logstash, true, 5044),
    scheme("syslog+udp", Protocol::SyslogUdp, false, 514),
    scheme("syslog+tcp", Protocol::SyslogTcp, false, 514),
    scheme("syslog+tls", Protocol::SyslogTcp, true, 6514),
    scheme("redis", Protocol::Redis, false, 6379),
    scheme("rediss", Protocol::Redis, true, 6379),
    scheme("webhook+http", Protocol::Webhook, false, 80),
    scheme("webhook+https", Protocol::Webhook, true, 443),
    scheme("otlp+http", Protocol::Otlp, false, 4318),
    scheme("otlp+https", Protocol::Otlp, true, 4318),
];

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A destination. Shown and printed without credentials, and a webhook's without its path, which is often one.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// As written.
    pub scheme: &'static str,
    /// What is spoken.
    pub protocol: Protocol,
    /// Over TLS.
    pub tls: bool,
    /// User name in front of the hosts.
    pub user: Option<String>,
    /// Password in front of the hosts.
    pub password: Option<Secret>,
    /// At least one.
    pub hosts: Vec<HostPort>,
    /// What follows the hosts, from its `/` on, with its query; empty or with at least the `/`.
    pub path: Secret,
}

/// Why a destination cannot be read. Never names what stands in front of `@`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

impl Target {
    /// Whether a word is meant as a URL and not as a path.
    pub fn is_url(word: &str) -> bool {
        word.contains("://")
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// [`UrlError`], which says what is expected.
    pub fn parse(word: &str) -> Result<Self, UrlError> {
        let (name, rest) = word.split_once("://").ok_or_else(|| UrlError(format!("`{word}` is no URL")))?;
        let scheme = SCHEMES.iter().find(|scheme| scheme.name == name).ok_or_else(|| unknown_scheme(name))?;
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) = credentials.map_or(Ok((None, None)), read_credentials)?;
        let target = Self {
            scheme: scheme.name,
            protocol: scheme.protocol,
            tls: scheme.tls,
            user,
            password,
            hosts: hosts.split(',').map(|host| read_host(host, scheme)).collect::<Result<_, _>>()?,
            path: Secret::new(if path.starts_with('?') { format!("/{path}") } else { path.to_owned() }),
        };
        target.checked()
    }

    fn checked(self) -> Result<Self, UrlError> {
        let many = matches!(self.protocol, Protocol::Elasticsearch | Protocol::Kafka | Protocol::Logstash);
        if self.hosts.len() > 1 && !many {
            return Err(UrlError(format!("{}: takes one host; give each host an output of its own", self.scheme)));
        }
        let path = self.path.expose();
        if path.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(UrlError(format!("{}: blanks and control characters cannot stand in a URL", self.scheme)));
        }
        let no_path = matches!(self.protocol, Protocol::Logstash | Protocol::SyslogUdp | Protocol::SyslogTcp);
        if no_path && !matches!(path, "" | "/") {
            return Err(UrlError(format!("{}: has no path; end it after the host", self.scheme)));
        }
        if self.protocol == Protocol::Kafka && (self.name().is_none() || !matches!(self.folder(), "")) {
            return Err(UrlError(format!(
                "{}: name one topic after the hosts: {}://HOST/TOPIC",
                self.scheme, self.scheme
            )));
        }
        Ok(self)
    }

    /// The last segment of the path, without a query, percent-decoded: an index, a topic, a key.
    pub fn name(&self) -> Option<String> {
        let path = self.path.expose().split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        (!name.is_empty()).then(|| percent_decoded(name)).flatten()
    }

    /// The path before [`Target::name`], without its last `/`.
    pub fn folder(&self) -> &str {
        let path = self.path.expose().split('?').next().unwrap_or_default();
        path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        for (nth, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if nth == 0 { "" } else { "," })?;
        }
        if self.protocol == Protocol::Webhook { Ok(()) } else { f.write_str(self.path.expose()) }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

fn unknown_scheme(name: &str) -> UrlError {
    let names: Vec<_> = SCHEMES.iter().map(|scheme| scheme.name).collect();
    UrlError(format!("`{name}://` is no output; there are {} and paths", names.join(", ")))
}

fn read_credentials(text: &str) -> Result<(Option<String>, Option<Secret>), UrlError> {
    let (user, password) = text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    let decoded = |part: &str| {
        percent_decoded(part).ok_or_else(|| UrlError("what stands before `@` is not percent-encoded UTF-8".into()))
    };
    Ok((Some(decoded(user)?).filter(|user| !user.is_empty()), password.map(decoded).transpose()?.map(Secret::new)))
}

fn read_host(text: &str, scheme: &Scheme) -> Result<HostPort, UrlError> {
    let wrong = |why: &str| UrlError(format!("{}://{text}: {why}", scheme.name));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("`]` is missing"))?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong("no IPv6 address stands in the brackets"))?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")).ok_or_else(|| wrong("no port after `]`"))?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || !host.chars().all(plain) {
        return Err(wrong("a host name or address is expected after `://`"));
    }
    let port = match port {
        "" if !text.ends_with(':') => scheme.port,
        port => {
            port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("the port is no number up to 65535"))?
        }
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// `None` where the text is no UTF-8, or a `%` is not followed by two hexadecimal digits.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(word: &str) -> Vec<String> {
        Target::parse(word).unwrap().hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn hosts_have_their_protocols_port_unless_they_name_one() {
        assert_eq!(
            hosts("elasticsearch+https://a,b:443,[::1],[::1]:1/x"),
            ["a:9200", "b:443", "[::1]:9200", "[::1]:1"]
        );
        assert_eq!(hosts("kafka://a/t"), ["a:9092"]);
        assert_eq!(hosts("kafka+tls://a/t"), ["a:9093"]);
        assert_eq!(hosts("syslog+tls://a"), ["a:6514"]);
        assert_eq!(hosts("webhook+https://hooks.example/services/T/B"), ["hooks.example:443"]);
    }

    #[test]
    fn names_are_the_last_segment() {
        let named = |word| Target::parse(word).unwrap().name();
        assert_eq!(named("elasticsearch+http://a/base/imds-1").as_deref(), Some("imds-1"));
        assert_eq!(Target::parse("elasticsearch+http://a/base/imds-1").unwrap().folder(), "/base");
        assert_eq!(named("redis://a/a%20key").as_deref(), Some("a key"));
        assert_eq!((named("redis://a"), named("redis://a/")), (None, None));
    }

    #[test]
    fn credentials_are_read_and_never_shown() {
        let target = Target::parse("elasticsearch+https://elastic:p%40ss@es/x").unwrap();
        assert_eq!(target.user.as_deref(), Some("elastic"));
        assert_eq!(target.password.as_ref().map(Secret::expose), Some("p@ss"));
        assert_eq!(target.to_string(), "elasticsearch+https://es:9200/x");
        let hook = Target::parse("webhook+https://hooks.slack.com/services/T0/B0/token").unwrap();
        assert_eq!(format!("{hook} {hook:?}").matches("token").count(), 0);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (word, expected) in [
            ("http://a", "`http://` is no output; there are elasticsearch+http,"),
            ("kafka://", "a host name or address is expected"),
            ("kafka://a:0", "the port is no number"),
            ("kafka://a:", "the port is no number"),
            ("kafka://[::1", "`]` is missing"),
            ("kafka://[x]:1", "no IPv6 address"),
            ("kafka://a b", "a host name or address is expected"),
            ("redis://a,b/k", "takes one host"),
            ("syslog+udp://a/x", "has no path"),
            ("redis://u%zz@a", "not percent-encoded"),
            ("kafka://a", "name one topic after the hosts: kafka://HOST/TOPIC"),
            ("kafka://a/", "name one topic"),
            ("kafka+tls://a,b/t/u", "name one topic after the hosts: kafka+tls://HOST/TOPIC"),
            ("kafka://a,,b/t", "a host name or address is expected"),
        ] {
            let error = Target::parse(word).expect_err(word).to_string();
            assert!(error.contains(expected), "{word}: {error}");
        }
    }
}
