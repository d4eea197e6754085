//! The event of an HTTP exchange (section 2 of the event format).
//!
//! In: a transaction and the matcher's verdict. Out: a [`Doc`]. Header values and bodies leave only where the settings
//! ask for them; values of session tokens never do, nor bodies of metadata exchanges and of answers to requests that name
//! a metadata target.

mod known;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use self::known::Known;
use super::body;
use super::doc::{
    Body, Doc, Envelope, HeaderValue, Headers, HttpBody, HttpEvent, HttpRequest, HttpResponse, Text, Url, UserAgent,
};
use super::envelope::{Exchange, Side};
use super::mask::{HIDDEN, Masker};
use super::settings::HttpSettings;
use super::url::{self, Host, Params, Target};
use super::{Context, Writer, imds, lossy};
use crate::catalogue;
use crate::detect::Verdict;
use crate::id::EventId;
use crate::proto::http::{Message, Note, Transaction};

/// The document of an exchange.
pub(super) fn document<'a>(
    writer: &'a Writer,
    id: EventId,
    tx: &'a Transaction,
    verdict: &'a Verdict,
    context: &Context<'a>,
) -> Doc<'a> {
    let side = |message: &Message| Side { first: message.first, bytes: message.bytes };
    let exchange = Exchange {
        kind: "http",
        conn: &tx.conn,
        request: tx.request.as_ref().map(side),
        response: tx.response.as_ref().map(side),
        icmp: None,
    };
    let mut envelope = writer.exchange(id, &exchange, context);
    let view = View {
        settings: &writer.settings().http,
        headers: &writer.settings().headers,
        context,
        is_metadata: verdict.imds.is_some(),
        names_metadata: verdict.candidates.iter().any(|candidate| candidate.is_metadata),
    };
    let good = tx.request.is_some() && status_of(tx).is_some_and(|status| status < 400);
    let mut body = HttpEvent { status: if good { "OK" } else { "Error" }, ..HttpEvent::default() };
    if let Some(request) = &tx.request {
        view.request(&mut envelope, &mut body, tx, request);
    }
    if let Some(response) = &tx.response {
        view.response(&mut envelope, &mut body, tx, response);
    }
    envelope.imds = imds::of_http(verdict, context);
    if verdict.imds.is_some() {
        writer.add_unknown_process(&mut envelope);
    }
    Doc { envelope, body: Body::Http(body) }
}

/// What hides secrets in the parts of a URL: nothing needs to, where neither target nor host has any.
pub(super) fn url_mask<'a>(mask: Masker<'a>, target: &[u8], host: &[u8]) -> Masker<'a> {
    if mask.are_clean(&[host, target]) { Masker::default() } else { mask }
}

/// `url` by its parts.
pub(super) fn url_object<'a>(
    original: Cow<'a, [u8]>,
    target: Option<Target<'a>>,
    query: String,
    (host, port): (&'a [u8], u16),
    mask: &Masker<'a>,
) -> Url<'a> {
    let masked = |bytes: Cow<'a, [u8]>| match bytes {
        Cow::Borrowed(bytes) => mask.text(lossy(bytes)),
        Cow::Owned(bytes) => Cow::Owned(mask.text(lossy(&bytes)).into_owned()),
    };
    let path = target.map(|target| target.path).unwrap_or_default();
    Url {
        original: Some(masked(original)),
        full: url::full(host, port, &path, &query).map(|full| mask.text(full.into())),
        scheme: Some("http"),
        domain: Some(mask.text(lossy(host))).filter(|domain| !domain.is_empty()),
        port: Some(port).filter(|port| *port != 80 && *port != 0),
        extension: url::extension(&path).map(|extension| masked(Cow::Owned(extension.to_vec()))),
        path: Some(path).filter(|path| !path.is_empty()).map(masked),
        query: Some(mask.text(query.into())).filter(|query| !query.is_empty()),
    }
}

/// Port that the target, or the proxy conversation around it, names: a client of a proxy says where it wants to go.
fn named_port(tx: &Transaction, request: &Message) -> Option<u16> {
    tx.via.as_deref().map(url::port_of).or_else(|| url::absolute_port(request.head.target()))
}

/// Status of the response; 0 where a response has none that can be read.
fn status_of(tx: &Transaction) -> Option<u16> {
    tx.response.as_ref().map(|response| response.head.status().unwrap_or(0))
}

/// How one exchange is written.
struct View<'v, 'a> {
    settings: &'a HttpSettings,
    headers: &'a catalogue::Headers,
    context: &'v Context<'a>,
    is_metadata: bool,
    /// The request names a metadata target: its answer may be what that said.
    names_metadata: bool,
}

impl<'a> View<'_, 'a> {
    fn request(
        &self,
        envelope: &mut Envelope<'a>,
        event: &mut HttpEvent<'a>,
        tx: &'a Transaction,
        request: &'a Message,
    ) {
        let known = Known::of(request, self.settings);
        let body = self.body(request, &known, &self.settings.include_request_body_for);
        let method = self.text(request.head.method());
        let is_request_note = |note: &&Note| matches!(note, Note::UnmatchedRequest | Note::LossInRequest);
        tx.notes.iter().filter(is_request_note).for_each(|note| envelope.error.push(note_text(*note)));
        if let Some(error) = body.error {
            envelope.error.push(error);
        }

        let host = Host::of(known.host);
        let port = match host.port {
            Some(port) if port != tx.conn.server.port => {
                envelope.error.push("Host header port number mismatch");
                port
            }
            // a proxy's port is not the URL's
            _ => named_port(tx, request).unwrap_or(tx.conn.server.port),
        };
        let target = Target::parse(request.head.target());
        let path = target.as_ref().map(|target| target.path.clone()).unwrap_or_default();
        let mask = self.url_mask(request, &known);
        event.query = Some([&*method, " ", &*mask.text(lossy(&path))].concat().into());
        event.method = Some(method.clone()).filter(|method| !method.is_empty());
        event.url = Some(self.url(request, target, (host.name, port), &known, &mask));
        self.name_ends(envelope, event, host, &known);

        event.http.version = Some(version(tx, request));
        event.http.request = Some(HttpRequest {
            method: event.method.clone(),
            referrer: Some(self.text(known.referer)).filter(|referer| !referer.is_empty()),
            bytes: Some(request.bytes).filter(|bytes| *bytes > 0),
            body: body.doc,
            headers: Some(self.headers(request, &known, "cookie")),
        });
        if !known.user_agent.is_empty() {
            event.user_agent = Some(UserAgent { original: self.text(known.user_agent) });
        }
        if self.settings.send_request && tx.stream.is_none() {
            event.request = Some(self.raw(request, body.sent));
        }
    }

    /// Host, real client and user: at the ends and in `related`.
    fn name_ends(&self, envelope: &mut Envelope<'a>, event: &mut HttpEvent<'a>, host: Host<'a>, known: &Known<'a>) {
        let name = self.text(host.name);
        if let Some(ip) = host.ip {
            envelope.related.add_spelt_ip(ip, name);
        } else if !name.is_empty() {
            envelope.related.add_host(name.clone());
            for end in [&mut envelope.destination, &mut envelope.server].into_iter().flatten() {
                end.domain = Some(name.clone());
            }
        }
        let real_ip = self.text(known.real_ip);
        if !real_ip.is_empty() {
            envelope.related.add_ip_text(real_ip.clone());
            if let Some(network) = &mut envelope.network {
                network.forwarded_ip = Some(real_ip);
            }
        }
        envelope.related.add_host(self.text(known.referer));
        if !self.settings.redact_authorization
            && self.is_sent("authorization")
            && let Some(user) = known.authorization.and_then(basic_user)
        {
            let user: Text<'a> = self.context.mask.text(user.into());
            envelope.related.add_user(user.clone());
            event.user_name = Some(user).filter(|user| !user.is_empty());
        }
    }

    fn response(
        &self,
        envelope: &mut Envelope<'a>,
        event: &mut HttpEvent<'a>,
        tx: &'a Transaction,
        response: &'a Message,
    ) {
        let known = Known::of(response, self.settings);
        let body = self.body(response, &known, &self.settings.include_response_body_for);
        let is_response_note = |note: &&Note| matches!(note, Note::UnmatchedResponse | Note::LossInResponse);
        tx.notes.iter().filter(is_response_note).for_each(|note| envelope.error.push(note_text(*note)));
        if let Some(error) = body.error {
            envelope.error.push(error);
        }
        let phrase = self.text(response.head.phrase());
        event.http.response = Some(HttpResponse {
            status_code: response.head.status().filter(|status| *status > 0),
            status_phrase: Some(lower(phrase)).filter(|phrase| !phrase.is_empty()),
            bytes: Some(response.bytes).filter(|bytes| *bytes > 0),
            body: body.doc,
            headers: Some(self.headers(response, &known, "set-cookie")),
        });
        if self.settings.send_response && tx.stream.is_none() {
            event.response = Some(self.raw(response, body.sent));
        }
    }

    fn url(
        &self,
        request: &'a Message,
        target: Option<Target<'a>>,
        (host, port): (&'a [u8], u16),
        known: &Known<'a>,
        mask: &Masker<'a>,
    ) -> Url<'a> {
        let original = match self.settings.hide_keywords.is_empty() {
            true => Cow::Borrowed(request.head.target()),
            false => url::hide_in_target(request.head.target(), |key| self.is_hidden(key)),
        };
        let query = target.as_ref().and_then(|target| self.query(target, request, known)).unwrap_or_default();
        let url = url_object(original, target, query, (host, port), mask);
        Url { original: url.original.filter(|original| !original.is_empty()), ..url }
    }

    /// What hides secrets in the parts of the URL: nothing needs to, where neither target nor host nor form has any.
    fn url_mask(&self, request: &Message, known: &Known<'_>) -> Masker<'a> {
        let mask = self.context.mask;
        let is_clean = !known.has_form() || mask.is_clean(&request.body.captured) && known.content_encoding.is_empty();
        if is_clean { url_mask(mask, request.head.target(), known.host) } else { mask }
    }

    /// Parameters of the target and of a form, sorted. `None` when the form cannot be read.
    fn query(&self, target: &Target<'_>, request: &Message, known: &Known<'_>) -> Option<String> {
        if self.settings.hide_keywords.is_empty() && !known.has_form() && Params::are_encoded(target.query) {
            return Some(String::from_utf8_lossy(target.query).into_owned());
        }
        let (mut params, _) = Params::parse(target.query);
        if known.has_form() {
            let decoded = match self.settings.decode_body {
                true => body::decode(&request.body.captured, known.content_encoding, self.settings.max_message_size).0,
                false => Cow::Borrowed(&request.body.captured[..]),
            };
            let (form, all) = Params::parse(&decoded);
            if !all {
                return None;
            }
            params.merge(form);
            params.hide(|key| self.is_hidden(key));
            return Some(params.encode());
        }
        params.hide(|key| self.is_hidden(key));
        Some(params.encode())
    }

    fn is_hidden(&self, key: &[u8]) -> bool {
        is_keyword(self.settings, key)
    }

    /// Whether a header (lower case) is among those to be written.
    fn is_sent(&self, name: &str) -> bool {
        self.settings.send_all_headers || self.settings.send_headers.iter().any(|sent| sent.eq_ignore_ascii_case(name))
    }

    fn headers(&self, message: &'a Message, known: &Known<'a>, cookie: &str) -> Headers<'a> {
        let content_type = Some(known.content_type).filter(|kind| !kind.is_empty()).map(|kind| self.text(kind));
        let mut headers = Headers { content_length: known.content_length(message), content_type, others: Vec::new() };
        if !self.settings.send_all_headers && self.settings.send_headers.is_empty() {
            return headers;
        }
        let out = &mut headers.others;
        for (name, value) in message.head.fields() {
            let name = lower(self.text(name));
            if matches!(&*name, "content-length" | "content-type") || name.starts_with(':') || !self.is_sent(&name) {
                continue;
            }
            let value = self.header_value(&name, value);
            match out.iter_mut().find(|(other, _)| *other == name) {
                Some((_, HeaderValue::Text(sum))) => *sum = self.context.mask.text(format!("{sum}, {value}").into()),
                _ => out.push((name, HeaderValue::Text(value))),
            }
        }
        if self.settings.split_cookie {
            for (name, value) in out {
                if let HeaderValue::Text(line) = value
                    && *name == cookie
                {
                    *value = HeaderValue::Cookies(split_cookies(line));
                }
            }
        }
        headers
    }

    /// The value of a header as it may be written.
    fn header_value(&self, name: &str, value: &'a [u8]) -> Text<'a> {
        match self.redaction(name, value) {
            Some(redacted) if !value.is_empty() => Cow::Borrowed(redacted),
            _ => self.text(value),
        }
    }

    /// What stands in the place of a header's value, if it may not be written.
    fn redaction(&self, name: &str, value: &[u8]) -> Option<&'static str> {
        let may_write = self.headers.may_write(name.as_bytes(), value, self.is_metadata);
        if matches!(name, "authorization" | "proxy-authorization") && (self.settings.redact_authorization || !may_write)
        {
            return Some("*");
        }
        if !may_write {
            return Some(HIDDEN);
        }
        self.settings.redact_headers.iter().any(|other| other.eq_ignore_ascii_case(name)).then_some("REDACTED")
    }

    /// The header block as sent, with what may not be written starred out, and the body where that is written.
    fn raw(&self, message: &Message, body: Option<Cow<'_, [u8]>>) -> Text<'a> {
        let mut out = Vec::with_capacity(message.head.raw.len());
        let mut is_secret = false; // a folded line belongs to the header above it
        for line in message.head.raw.split_inclusive(|byte| *byte == b'\n') {
            let content = line.trim_ascii_end();
            if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                let name = memchr::memchr(b':', content).map_or(&b""[..], |at| &content[..at]);
                let name = lower(lossy(name.trim_ascii()));
                // by name alone: the value may go on in the next line
                is_secret = self.redaction(&name, b"").is_some_and(|redacted| redacted != "REDACTED");
                let kept = if is_secret { memchr::memchr(b':', content).map_or(0, |at| at + 1) } else { content.len() };
                out.extend_from_slice(&content[..kept]);
                out.extend(std::iter::repeat_n(b'*', content.len() - kept));
            } else if is_secret {
                out.extend(std::iter::repeat_n(b'*', content.len()));
            } else {
                out.extend_from_slice(content);
            }
            out.extend_from_slice(&line[content.len()..]);
        }
        out.extend_from_slice(&body.unwrap_or_default());
        self.owned(&out)
    }

    /// What is written of a body.
    fn body<'m>(&self, message: &'m Message, known: &Known<'_>, types: &[String]) -> WrittenBody<'a, 'm> {
        let wanted = self.settings.include_body_for.iter().chain(types);
        let is_secret = self.is_metadata || (self.names_metadata && message.head.status().is_some());
        let is_sent = !is_secret
            && !message.body.captured.is_empty()
            && wanted.into_iter().any(|part| memchr::memmem::find(known.content_type, part.as_bytes()).is_some());
        let mut out = WrittenBody { doc: None, error: None, sent: None };
        let mut bytes = message.body.len;
        if is_sent {
            let captured = &message.body.captured[..message.body.captured.len().min(self.settings.max_message_size)];
            let (decoded, error) = match self.settings.decode_body {
                true => body::decode(captured, known.content_encoding, self.settings.max_message_size),
                false => (Cow::Borrowed(captured), None),
            };
            out.error = error.map(|error| self.context.mask.text(error.into()));
            if !decoded.is_empty() {
                bytes = decoded.len() as u64;
                out.sent = Some(decoded);
            }
        }
        let content = out.sent.as_deref().map(|sent| self.owned(sent));
        out.doc = (bytes > 0).then_some(HttpBody { bytes: Some(bytes), content });
        out
    }

    /// Text from the wire, issued credentials hidden.
    fn text(&self, bytes: &'a [u8]) -> Text<'a> {
        self.context.mask.text(lossy(bytes))
    }

    /// The same for bytes that do not live as long as the event.
    fn owned(&self, bytes: &[u8]) -> Text<'a> {
        Cow::Owned(self.context.mask.text(lossy(bytes)).into_owned())
    }
}

struct WrittenBody<'a, 'm> {
    doc: Option<HttpBody<'a>>,
    error: Option<Text<'a>>,
    sent: Option<Cow<'m, [u8]>>,
}

/// Whether the values of a parameter are to be hidden.
pub(super) fn is_keyword(settings: &HttpSettings, key: &[u8]) -> bool {
    let hidden = &settings.hide_keywords;
    !hidden.is_empty() && hidden.contains(&String::from_utf8_lossy(key).to_lowercase())
}

/// Lower case; borrowed where it is already.
fn lower(text: Text<'_>) -> Text<'_> {
    match text.is_ascii() {
        true if text.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(text.to_ascii_lowercase()),
        false if text.chars().any(char::is_uppercase) => {
            Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
        }
        _ => text,
    }
}

/// User of HTTP Basic authentication.
fn basic_user(value: &[u8]) -> Option<String> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(rest).or_else(|_| STANDARD_NO_PAD.decode(rest)).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    Some(lossy(&decoded[..colon]).into_owned())
}

/// Cookies by lower-case name, quotes stripped; of a repeated one the last counts.
fn split_cookies<'a>(line: &str) -> Vec<(Text<'a>, Text<'a>)> {
    let mut out: Vec<(Text<'a>, Text<'a>)> = Vec::new();
    for (name, value) in line.split(';').filter_map(|cookie| cookie.split_once('=')) {
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        let name = name.trim().to_lowercase();
        match out.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = Cow::Owned(value.to_owned()),
            None => out.push((Cow::Owned(name), Cow::Owned(value.to_owned()))),
        }
    }
    out
}

/// `http.version`. Packetbeat writes 1.0 for anything that it cannot read.
fn version(tx: &Transaction, request: &Message) -> Text<'static> {
    if tx.stream.is_some() {
        return Cow::Borrowed("2");
    }
    match request.head.version.map(|version| (version.major, version.minor)) {
        Some((1, 1)) => Cow::Borrowed("1.1"),
        Some((major @ 0..=1, minor @ 0..=2)) if (major, minor) != (1, 0) => format!("{major}.{minor}").into(),
        _ => Cow::Borrowed("1.0"),
    }
}

fn note_text(note: Note) -> &'static str {
    match note {
        Note::UnmatchedRequest => "Unmatched request",
        Note::UnmatchedResponse => "Unmatched response",
        Note::LossInRequest => "Packet loss while capturing the request",
        Note::LossInResponse => "Packet loss while capturing the response",
    }
}
