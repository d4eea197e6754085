//! Syslog after RFC 5424: datagrams (RFC 5426), or octet-counted over TCP and TLS (RFC 6587, RFC 5425).
//!
//! Syslog has no acknowledgement: what the system took for sending counts as taken. Over TCP a connection that the receiver
//! has closed is noticed before each batch; what was on its way at that moment is lost, which no syslog sender can know.

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};

use super::cef;
use super::connect::{Dialer, Stream, io_trouble, resolve};
use super::fields::Fields;
use super::settings::{Body, Settings};
use super::text::cut;
use super::url::{HostPort, Protocol};
use super::{SettingsError, endpoints, tls};
use crate::output::receiver::{Event, Kind, Limits, Needs, Outcome, Receiver, Reply, Trouble};

/// A connection to a syslog receiver.
pub struct Syslog {
    dialer: Dialer,
    settings: Settings,
    body: Body,
    link: Option<Link>,
}

enum Link {
    Datagrams(UdpSocket),
    Stream(Stream),
}

impl Link {
    fn is_open(&mut self) -> bool {
        match self {
            Self::Datagrams(_) => true,
            Self::Stream(stream) => stream.is_open(),
        }
    }
}

impl Syslog {
    /// Reads certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let tls = settings.target.tls.then(|| tls::configuration(&settings.tls)).transpose()?;
        let default = if settings.target.protocol == Protocol::SyslogUdp { Body::Cef } else { Body::Json };
        Ok(Self {
            dialer: Dialer { tls, timeout: settings.timeout },
            body: settings.body.unwrap_or(default),
            settings: settings.clone(),
            link: None,
        })
    }

    fn is_udp(&self) -> bool {
        self.settings.target.protocol == Protocol::SyslogUdp
    }

    fn host(&self) -> Result<HostPort, Trouble> {
        self.settings.target.hosts.first().cloned().ok_or_else(|| Trouble::refused("no host"))
    }

    fn connected(&mut self) -> Result<Link, Trouble> {
        if let Some(mut link) = self.link.take()
            && link.is_open()
        {
            return Ok(link);
        }
        let host = self.host()?;
        if !self.is_udp() {
            return self.dialer.dial(&host).map(Link::Stream);
        }
        let addresses = resolve(&host, self.dialer.timeout)?;
        let bound = |to: &SocketAddr| {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            UdpSocket::bind(any).and_then(|socket| socket.connect(to).map(|()| socket))
        };
        let to = addresses.first().ok_or_else(|| Trouble::away(format!("{host}: the name has no address")))?;
        bound(to).map(Link::Datagrams).map_err(|error| io_trouble(&host, "cannot send", &error))
    }

    fn send_stream(&self, stream: &mut Stream, batch: &[Event<'_>]) -> std::io::Result<()> {
        let mut frames = Vec::new();
        for event in batch {
            let message = message(event, self.body);
            frames.extend_from_slice(format!("{} ", message.len()).as_bytes());
            frames.extend_from_slice(&message);
        }
        stream.arm(self.dialer.timeout);
        stream.write_all(&frames)?;
        stream.flush()
    }

    fn send_datagrams(&self, socket: &UdpSocket, batch: &[Event<'_>], host: &HostPort) -> Reply {
        let mut reply = Reply::default();
        for event in batch {
            let message = message(event, self.body);
            if message.len() > DATAGRAM {
                let text = format!("{} bytes are more than a datagram of {DATAGRAM} holds", message.len());
                reply.outcomes.push(Outcome::Rejected(text));
                continue;
            }
            // A refusal of the one before (ICMP port unreachable) comes with the next one, which was not sent.
            if let Err(error) = socket.send(&message) {
                reply.trouble = Some(io_trouble(host, "cannot send", &error));
                break;
            }
            reply.outcomes.push(Outcome::Taken);
        }
        reply
    }
}

impl Receiver for Syslog {
    fn send(&mut self, batch: &[Event<'_>]) -> Reply {
        let connected = self.host().and_then(|host| Ok((host, self.connected()?)));
        let (host, mut link) = match connected {
            Ok(connected) => connected,
            Err(trouble) => return trouble.into(),
        };
        let reply = match &mut link {
            Link::Datagrams(socket) => self.send_datagrams(socket, batch, &host),
            Link::Stream(stream) => match self.send_stream(stream, batch) {
                Ok(()) => Reply::taken(batch.len()),
                Err(error) => io_trouble(&host, "cannot send", &error).into(),
            },
        };
        if reply.trouble.is_none() || self.is_udp() {
            self.link = Some(link);
        }
        reply
    }

    fn limits(&self) -> Limits {
        Limits { events: self.settings.batch.unwrap_or(1000), bytes: 1 << 20 }
    }

    fn needs(&self) -> Needs {
        Needs { endpoints: endpoints(&self.settings.target, self.is_udp()), follows: false }
    }

    fn check(&mut self, steps: &mut Vec<String>) -> Result<(), Trouble> {
        let link = self.connected()?;
        steps.push(match &link {
            Link::Datagrams(_) => format!("{} is resolved; datagrams are not acknowledged", self.host()?),
            Link::Stream(stream) if stream.is_tls() => format!("{} is connected over TLS", self.host()?),
            Link::Stream(_) => format!("{} is connected", self.host()?),
        });
        self.link = Some(link);
        Ok(())
    }
}

/// One message, without a count: `<PRI>1 TIME HOST imdswatch - KIND - BODY`, facility local0.
fn message(event: &Event<'_>, body: Body) -> Vec<u8> {
    let fields = Fields::of(event.json);
    let time = fields.text("@timestamp").map_or_else(|| "-".to_owned(), to_microseconds);
    let host = token(fields.text("agent.name").unwrap_or_default(), 255);
    let kind = token(event.dataset, 32);
    let mut out = format!("<{}>1 {time} {host} imdswatch - {kind} - ", LOCAL0 * 8 + severity(event)).into_bytes();
    match body {
        Body::Json => out.extend_from_slice(event.json),
        Body::Cef => out.extend_from_slice(cef::render(&fields).as_bytes()),
    }
    out
}

/// RFC 5424 allows six digits of a second.
fn to_microseconds(time: &str) -> String {
    match time.split_once('.') {
        Some((second, fraction)) if fraction.len() > 7 => format!("{second}.{}Z", cut(fraction, 6)),
        _ => token(time, 64),
    }
}

/// A header's value: printable ASCII without blanks, `-` where nothing is left.
fn token(text: &str, most: usize) -> String {
    let printable: String = text.chars().filter(|c| ('!'..='~').contains(c)).take(most).collect();
    if printable.is_empty() { "-".to_owned() } else { printable }
}

/// Critical 2, error 3, warning 4, notice 5; informational 6 for what is no alert.
fn severity(event: &Event<'_>) -> u8 {
    use crate::alert::Severity::{Critical, High, Low, Medium};
    match (event.kind, event.severity) {
        (Kind::Event, _) => 6,
        (Kind::Alert, Some(Critical)) => 2,
        (Kind::Alert, Some(High)) => 3,
        (Kind::Alert, Some(Medium)) => 4,
        (Kind::Alert, Some(Low) | None) => 5,
    }
}

const LOCAL0: u8 = 16;

/// Bytes of a datagram at most: what receivers take by default (rsyslog 8 kB).
const DATAGRAM: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_header_of_rfc_5424() {
        let json = br#"{"@timestamp":"2026-11-24T03:29:04.123456789Z","event":{"kind":"alert","severity":99,"dataset":"alert"},"agent":{"name":"a b\u00e9"}}"#;
        let message = message(&Event::read(json), Body::Json);
        let text = String::from_utf8(message).unwrap();
        assert!(text.starts_with("<130>1 2026-11-24T03:29:04.123456Z ab imdswatch - alert - {"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_still_has_a_header() {
        let message = message(&Event::read(b"{}"), Body::Cef);
        assert!(message.starts_with(b"<134>1 - - imdswatch - - - CEF:0|"), "{}", String::from_utf8_lossy(&message));
    }
}
