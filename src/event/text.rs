//! One readable line per event, for people at a terminal.
//!
//! In: a [`Doc`]. Out: time, severity and rule (or the type), who to whom, what, with which result, why, and for alerts
//! the sentence to act on. Text from the wire cannot steer the terminal: control characters, line breaks and marks that
//! turn the direction of writing are escaped, and long texts are cut.

use std::fmt::{self, Write as _};

use super::doc::{Body, Doc, End, Http, Ip, Url};
use super::plain::steers;

/// Longest text from the wire that is shown, in characters.
const LONGEST: usize = 600;

/// Appends the event as one line.
pub(super) fn line(out: &mut Vec<u8>, doc: &Doc<'_>, colour: bool) {
    let mut text = String::with_capacity(256);
    // Writing to a String does not fail.
    let _ = Line { doc, colour }.write(&mut text);
    text.push('\n');
    out.extend_from_slice(text.as_bytes());
}

struct Line<'d, 'a> {
    doc: &'d Doc<'a>,
    colour: bool,
}

impl Line<'_, '_> {
    fn write(&self, out: &mut String) -> fmt::Result {
        let envelope = &self.doc.envelope;
        self.paint(out, DIM, |out| write!(out, "{}", envelope.timestamp))?;
        out.push(' ');
        match (&self.doc.body, envelope.event.severity) {
            (Body::Alert(alert), Some(severity)) => {
                let (name, style) = severity_name(severity);
                self.paint(out, style, |out| write!(out, "{name:<8}"))?;
                out.push(' ');
                self.paint(out, BOLD, |out| out.write_str(alert.rule.id))?;
            }
            _ => write!(out, "{:<8}", envelope.kind)?,
        }
        if let (Some(source), Some(destination)) = (&envelope.source, &envelope.destination) {
            write!(out, " {} -> {}", Ends(source), Ends(destination))?;
        }
        self.what(out)?;
        self.why(out)?;
        if let Body::Alert(alert) = &self.doc.body {
            write!(out, " {}", Plain(&alert.message))?;
        }
        match envelope.imds.as_ref().and_then(|imds| imds.repeats) {
            Some(times) => write!(out, " (and {times} more like it)"),
            None => Ok(()),
        }
    }

    /// The request and its result.
    fn what(&self, out: &mut String) -> fmt::Result {
        match &self.doc.body {
            Body::Http(event) => exchange(out, &event.http, event.url.as_ref()),
            Body::Dns(event) => {
                let Some(dns) = &event.dns else { return Ok(()) };
                write!(out, " {}", Plain(event.query.as_deref().unwrap_or_default()))?;
                write!(out, " {}", if dns.kind == "answer" { &dns.response_code } else { "(no answer)" })?;
                addresses(out, &dns.resolved_ip)
            }
            Body::Icmp(event) => {
                let mut messages = [&event.icmp.request, &event.icmp.response].into_iter().flatten();
                messages.try_for_each(|message| write!(out, " {}", message.message))
            }
            Body::Flow(_) => self.traffic(out),
            Body::Alert(alert) => {
                if let Some(http) = &alert.http {
                    exchange(out, http, alert.url.as_ref())?;
                }
                let Some(dns) = &alert.dns else { return Ok(()) };
                write!(out, " {} {}", dns.question.kind, Plain(&dns.question.name))?;
                addresses(out, &dns.resolved_ip)
            }
            Body::Connection | Body::Process(_) => Ok(()),
            Body::Stats(ours) => ours.stats.0.iter().try_for_each(|(name, value)| write!(out, " {name}={value}")),
        }
    }

    /// What a flow carried.
    fn traffic(&self, out: &mut String) -> fmt::Result {
        let Some(network) = &self.doc.envelope.network else { return Ok(()) };
        let transport = network.transport.unwrap_or("other");
        let (packets, bytes) = (network.packets.unwrap_or(0), network.bytes.unwrap_or(0));
        write!(out, " {transport} {packets} packets {bytes} bytes")
    }

    /// Signals, and the allow-list entry that kept an alert back.
    fn why(&self, out: &mut String) -> fmt::Result {
        let Some(imds) = self.doc.envelope.imds.as_ref() else {
            return Ok(());
        };
        let signals = imds.signals.0.slugs();
        if !signals.is_empty() {
            out.push(' ');
            self.paint(out, DIM, |out| write!(out, "[{}]", signals.join(" ")))?;
        }
        match imds.allowed_by {
            Some(name) => write!(out, " (allowed: {})", Plain(name)),
            None => Ok(()),
        }
    }

    fn paint(&self, out: &mut String, style: &str, write: impl FnOnce(&mut String) -> fmt::Result) -> fmt::Result {
        if !self.colour {
            return write(out);
        }
        out.push_str(style);
        write(out)?;
        out.push_str("\x1b[0m");
        Ok(())
    }
}

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";

/// Name and style of a severity.
fn severity_name(severity: u8) -> (&'static str, &'static str) {
    match severity {
        99.. => ("CRITICAL", "\x1b[1;97;41m"),
        73.. => ("HIGH", "\x1b[1;31m"),
        47.. => ("MEDIUM", "\x1b[1;33m"),
        _ => ("LOW", "\x1b[36m"),
    }
}

/// `ip:port`, `[ip]:port`, or the MAC of frames that are not IP.
struct Ends<'e, 'a>(&'e End<'a>);

impl fmt::Display for Ends<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.ip, self.0.port, self.0.mac) {
            (Some(ip), Some(port), _) if ip.0.to_canonical().is_ipv6() => write!(f, "[{ip}]:{port}"),
            (Some(ip), Some(port), _) => write!(f, "{ip}:{port}"),
            (Some(ip), None, _) => write!(f, "{ip}"),
            (None, _, Some(mac)) => write!(f, "{mac}"),
            (None, _, None) => f.write_str("?"),
        }
    }
}

/// Text from the wire, harmless to a terminal.
struct Plain<'t>(&'t str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            match c {
                _ if count == LONGEST => return f.write_str("…"),
                c if steers(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Method, URL and status.
fn exchange(out: &mut String, http: &Http<'_>, url: Option<&Url<'_>>) -> fmt::Result {
    let method = http.request.as_ref().and_then(|request| request.method.as_deref());
    let url = url.and_then(|url| url.full.as_deref().or(url.original.as_deref()));
    for part in [method, url].into_iter().flatten() {
        write!(out, " {}", Plain(part))?;
    }
    match http.response.as_ref().and_then(|response| response.status_code) {
        Some(status) => write!(out, " {status}"),
        None => out.write_str(" (no answer)"),
    }
}

/// Addresses that a name stands for.
fn addresses(out: &mut String, ips: &[Ip]) -> fmt::Result {
    ips.iter().try_for_each(|ip| write!(out, " {ip}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{alert, conn, exchange, imds};
    use super::super::{Context, Format, Settings, Writer, event_id};
    use super::*;
    use crate::detect::Verdict;
    use crate::packet::Timestamp;

    fn writer(colour: bool) -> Writer {
        Writer::new(Settings::default()).with_format(Format::Text { colour })
    }

    fn text(colour: bool) -> String {
        let mut out = Vec::new();
        let mut alert = alert();
        alert.message = "line\nbreak \u{1b}]0;title\u{7} and \u{202e}turned".into();
        writer(colour).alert(&mut out, &alert, &Context::default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_alert_reads_from_time_to_sentence() {
        assert_eq!(
            text(false),
            "2026-09-20T10:15:31.500Z CRITICAL ssrf-confirmed 203.0.113.66:41550 -> 10.20.0.10:80 GET \
             http://shop.example/fetch?url=http%3A%2F%2F169.254.169.254%2Flatest%2F 200 [issued] \
             line\\u{a}break \\u{1b}]0;title\\u{7} and \\u{202e}turned\n"
        );
    }

    #[test]
    fn colours_are_ours_alone() {
        let text = text(true);
        assert!(text.contains("\x1b[1;97;41mCRITICAL\x1b[0m \x1b[1mssrf-confirmed\x1b[0m"));
        assert_eq!(text.matches('\x1b').count(), 8);
    }

    #[test]
    fn other_events_have_their_line_too() {
        let tx = exchange(conn("[fd00::1]:4000", "[fd00:ec2::254]:80"), Some("GET /a\u{9b}b HTTP/1.1\nHost: x"), None);
        let verdict = Verdict { imds: Some(Arc::new(imds("/a"))), ..Verdict::default() };
        let context = Context { allowed_by: Some("cloud-init"), ..Context::default() };
        let mut out = Vec::new();
        writer(false).http(&mut out, event_id("http", &tx.conn, Timestamp(0), 0), &tx, &verdict, &context);
        writer(false).stats(&mut out, Timestamp(0), &[("packets", 3)]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2026-09-20T10:15:30.123Z http     [fd00::1]:4000 -> [fd00:ec2::254]:80 GET http://x/a%C2%9Bb (no answer) \
             [v1] (allowed: cloud-init)\n1970-01-01T00:00:00.000Z stats    packets=3\n"
        );
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(Plain(&"x".repeat(1000)).to_string().chars().count(), LONGEST + 1);
    }
}
