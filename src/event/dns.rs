//! The event of a DNS transaction (section 3 of the event format): the document, the `dns` object, and the texts of
//! `request` and `response`.

mod record;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::doc::{Body, DisplayString, DnsEvent, Doc, Ip, Text};
use super::envelope::{Exchange, Side};
use super::{Context, Masker, Writer, imds};
use crate::detect::DnsVerdict;
use crate::id::EventId;
use crate::proto::dns::{Message, Name, Note, Opt, Question, Record, Transaction, names};
use record::{RecordDoc, Room};

/// Packetbeat's `dns` object: of the response if there is one, else of the query.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub struct Dns<'a> {
    /// Message id.
    pub id: u16,
    /// `answer` if a response is present, else `query`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Opcode name.
    pub op_code: Text<'static>,
    /// Response code name.
    pub response_code: Text<'static>,
    /// Header flags as booleans.
    pub flags: Flags,
    /// Header flags that are set, and `DO`.
    pub header_flags: Vec<&'static str>,
    /// The question.
    pub question: Option<QuestionDoc<'a>>,
    /// Number of answers.
    pub answers_count: usize,
    /// Answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<RecordDoc<'a>>,
    /// Addresses among the answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolved_ip: Vec<Ip>,
    /// Number of authorities.
    pub authorities_count: usize,
    /// Authorities, with `include_authorities`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<RecordDoc<'a>>,
    /// Number of additionals without EDNS.
    pub additionals_count: usize,
    /// Additionals without EDNS, with `include_additionals`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additionals: Vec<RecordDoc<'a>>,
    /// EDNS.
    pub opt: Option<OptDoc>,
}

/// `dns.flags`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Flags {
    authoritative: bool,
    truncated_response: bool,
    recursion_desired: bool,
    recursion_available: bool,
    authentic_data: bool,
    checking_disabled: bool,
}

impl Flags {
    fn of(message: &Message) -> Self {
        let bit = |bit: u16| message.flags & bit != 0;
        Self {
            authoritative: bit(0x0400),
            truncated_response: bit(0x0200),
            recursion_desired: bit(0x0100),
            recursion_available: bit(0x0080),
            authentic_data: bit(0x0020),
            checking_disabled: bit(0x0010),
        }
    }

    /// Mnemonics of those that are set, in the order of the header.
    fn mnemonics(self) -> impl Iterator<Item = &'static str> {
        [
            (self.authoritative, "AA"),
            (self.truncated_response, "TC"),
            (self.recursion_desired, "RD"),
            (self.recursion_available, "RA"),
            (self.authentic_data, "AD"),
            (self.checking_disabled, "CD"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
    }
}

/// `dns.question`.
#[derive(Debug)]
pub struct QuestionDoc<'a> {
    name: Text<'a>,
    kind: Text<'static>,
    class: Text<'static>,
}

impl Serialize for QuestionDoc<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let domain = Domain::of(&self.name);
        let mut question = serializer.serialize_struct("QuestionDoc", 7)?;
        question.serialize_field("name", &self.name)?;
        question.serialize_field("type", &self.kind)?;
        question.serialize_field("class", &self.class)?;
        if let Some(name) = domain.registered {
            question.serialize_field("registered_domain", name)?;
        }
        if let Some(name) = domain.etld_plus_one {
            question.serialize_field("etld_plus_one", name)?;
        }
        if let Some(name) = domain.top_level {
            question.serialize_field("top_level_domain", name)?;
        }
        if let Some(name) = domain.subdomain {
            question.serialize_field("subdomain", name)?;
        }
        question.end()
    }
}

/// Names as text; that of the question, which most messages repeat, has been made already.
#[derive(Clone, Copy)]
struct Names<'a> {
    asked: Option<(&'a Name, &'a str)>,
}

impl<'a> Names<'a> {
    fn text(&self, name: &Name) -> Text<'a> {
        match self.asked {
            Some((asked, text)) if asked == name => text.into(),
            _ => name.text().into(),
        }
    }
}

/// `dns.opt`.
#[derive(Debug, Serialize)]
pub struct OptDoc {
    #[serde(rename = "do")]
    dnssec_ok: bool,
    version: DisplayString<u8>,
    udp_size: u16,
    ext_rcode: Text<'static>,
    #[serde(flatten)]
    options: std::collections::BTreeMap<&'static str, String>,
}

/// The document of a transaction. `name` is the name asked for, as text.
pub(super) fn document<'a>(
    writer: &'a Writer,
    id: EventId,
    tx: &'a Transaction,
    name: Option<&'a str>,
    verdict: &'a DnsVerdict,
    context: &Context<'a>,
) -> Doc<'a> {
    let side = |message: &Message| Side { first: message.time, bytes: message.bytes };
    let exchange = Exchange {
        kind: "dns",
        conn: &tx.conn,
        request: tx.query.as_deref().map(side),
        response: tx.response.as_deref().map(side),
        icmp: None,
    };
    let mut envelope = writer.exchange(id, &exchange, context);
    let settings = &writer.settings().dns;
    let answered = tx.query.is_some() && tx.response.as_ref().is_some_and(|response| response.rcode() == 0);
    let status = if answered { "OK" } else { "Error" };
    let mut body = DnsEvent { status, ..DnsEvent::default() };
    for note in &tx.notes {
        envelope.error.push(remark(*note));
    }
    if let Some(first) = tx.query.as_ref().or(tx.response.as_ref()) {
        body.method = Some(names::opcode(first.opcode()));
    }
    let names = Names { asked: tx.asked().map(|asked| &asked.name).zip(name) };
    if let Some(asked) = tx.asked() {
        body.query = Some(context.mask.text(question_text(asked, &names.text(&asked.name)).into()));
        body.resource = Some(context.mask.text(names.text(&asked.name)));
    }
    if let Some(shown) = tx.response.as_ref().or(tx.query.as_ref()) {
        let mut room = Room::new(tx, shown);
        let mut dns = object(shown, asked_in(tx, shown), names, &context.mask, &mut room);
        if settings.include_authorities {
            dns.authorities = record::list(&shown.authorities, names, &context.mask, &mut room);
        }
        if settings.include_additionals {
            dns.additionals = record::list(&shown.additionals, names, &context.mask, &mut room);
        }
        if room.left_out > 0 {
            envelope
                .error
                .push(format!("{} records are left out: they are far longer than the message", room.left_out));
        }
        dns.resolved_ip.iter().for_each(|ip| envelope.related.add_ip(ip.0));
        body.dns = Some(dns);
    }
    let raw = |wanted: bool, message: Option<&Message>| {
        message.filter(|_| wanted).map(|message| context.mask.text(message_text(message).into()))
    };
    body.request = raw(settings.send_request, tx.query.as_deref());
    body.response = raw(settings.send_response, tx.response.as_deref());
    envelope.imds = imds::of_dns(verdict, context);
    if envelope.imds.is_some() {
        writer.add_unknown_process(&mut envelope);
    }
    Doc { envelope, body: Body::Dns(body) }
}

/// Bytes of both messages.
pub(super) fn bytes(tx: &Transaction) -> u64 {
    [&tx.query, &tx.response].into_iter().flatten().map(|message| message.bytes).sum()
}

/// The question of `message` that the transaction is about. Of several, responders repeat but the first as a rule.
fn asked_in<'a>(tx: &'a Transaction, message: &'a Message) -> Option<&'a Question> {
    let own = message.questions.get(tx.question);
    if tx.question == 0 { own } else { own.or_else(|| tx.asked()) }
}

/// The `dns` object of a message, without authorities and additionals.
fn object<'a>(
    message: &'a Message,
    question: Option<&'a Question>,
    names: Names<'a>,
    mask: &Masker<'a>,
    room: &mut Room,
) -> Dns<'a> {
    let flags = Flags::of(message);
    let dnssec_ok = message.opt.as_ref().is_some_and(|opt| opt.dnssec_ok);
    Dns {
        id: message.id,
        kind: if message.is_response() { "answer" } else { "query" },
        op_code: names::opcode(message.opcode()),
        response_code: names::rcode(message.rcode()),
        flags,
        header_flags: flags.mnemonics().chain(dnssec_ok.then_some("DO")).collect(),
        question: question.map(|question| question_object(question, names, mask)),
        answers_count: message.answers.len(),
        answers: record::list(&message.answers, names, mask, room),
        resolved_ip: message.answers.iter().filter_map(record::address).collect(),
        authorities_count: message.authorities.len(),
        authorities: Vec::new(),
        additionals_count: message.additionals.len() + usize::from(message.spare_opts),
        additionals: Vec::new(),
        opt: message.opt.as_ref().map(opt_object),
    }
}

fn question_object<'a>(question: &Question, names: Names<'a>, mask: &Masker<'a>) -> QuestionDoc<'a> {
    QuestionDoc {
        name: mask.text(names.text(&question.name)),
        kind: names::rtype(question.qtype),
        class: names::class(question.class),
    }
}

/// Parts of a question name by the Public Suffix List, private section included, case as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Domain<'n> {
    registered: Option<&'n str>,
    etld_plus_one: Option<&'n str>,
    top_level: Option<&'n str>,
    subdomain: Option<&'n str>,
}

impl<'n> Domain<'n> {
    fn of(name: &'n str) -> Self {
        // What Go's list refuses: an empty label, as an escaped dot at a border looks to it, and addresses.
        let refused = name.starts_with('.')
            || name.ends_with('.')
            || name.contains("..")
            || name.parse::<std::net::IpAddr>().is_ok();
        match psl::domain_str(name).filter(|_| !refused) {
            Some(registered) => Self {
                registered: Some(registered),
                etld_plus_one: Some(registered),
                top_level: registered.split_once('.').map(|(_, suffix)| suffix),
                subdomain: name
                    .strip_suffix(registered)
                    .map(|rest| rest.trim_end_matches('.'))
                    .filter(|rest| !rest.is_empty()),
            },
            // A public suffix of two labels, and the root.
            None if name.matches('.').count() == 1 => Self {
                registered: Some(name),
                top_level: name.split_once('.').map(|(_, top)| top).filter(|top| !top.is_empty()),
                ..Self::default()
            },
            None => Self::default(),
        }
    }
}

fn opt_object(opt: &Opt) -> OptDoc {
    OptDoc {
        dnssec_ok: opt.dnssec_ok,
        version: DisplayString(opt.version),
        udp_size: opt.udp_size,
        ext_rcode: names::rcode(u16::from(opt.ext_rcode) << 4),
        options: opt.options.iter().filter_map(|(code, data)| record::option(*code, data)).collect(),
    }
}

/// Packetbeat's words.
fn remark(note: Note) -> &'static str {
    match note {
        Note::NoResponse => "No response to this query was received",
        Note::OrphanResponse => "Response: received without an associated Query",
        Note::DuplicateQuery => {
            "Another query with the same DNS ID from this client was received so this query was closed without receiving a response"
        }
        Note::NonEdnsQueryTooBig => "Non-EDNS packet has size greater than 512",
        Note::NonEdnsResponseTooBig => "Response: Non-EDNS packet has size greater than 512",
        Note::NoEdnsSupport => "Responder does not support EDNS",
        Note::UnexpectedEdns => "Unexpected EDNS answer",
        Note::NonDnsResponse => "Response: Message's data could not be decoded as DNS",
        Note::ZeroLength => "Response: Message's length was set to zero",
        Note::IncompleteResponse => "Response: Message's data is incomplete",
    }
}

/// `class IN, type A, name`
fn question_text(question: &Question, name: &str) -> String {
    ["class ", &names::class(question.class), ", type ", &names::rtype(question.qtype), ", ", name].concat()
}

/// A message in one line, as Packetbeat's `send_request` and `send_response` write it.
fn message_text(message: &Message) -> String {
    let role = if message.is_response() { "response" } else { "query" };
    let (opcode, rcode) = (names::opcode(message.opcode()), names::rcode(message.rcode()));
    let flags = Flags::of(message).mnemonics().collect::<Vec<_>>().join(" ").to_lowercase();
    let mut out = format!("ID {}; QR {role}; OPCODE {opcode}; FLAGS {flags}; RCODE {rcode}", message.id);
    let mut section = |title: &str, texts: Vec<String>| {
        if !texts.is_empty() {
            out.push_str(&format!("; {title} {}", texts.join("; ")));
        }
    };
    let mut left = 2 * usize::try_from(message.bytes).unwrap_or(usize::MAX / 2) + 1024;
    let mut texts = |records: &[Record]| {
        let shown = records.iter().map(record::text).take_while(|text| {
            left = left.saturating_sub(text.len() + 2);
            left > 0
        });
        let mut shown: Vec<String> = shown.collect();
        if shown.len() < records.len() {
            shown.push(format!("{} more", records.len() - shown.len()));
        }
        shown
    };
    section("QUESTION", message.questions.iter().map(|asked| question_text(asked, &asked.name.text())).collect());
    section("ANSWER", texts(&message.answers));
    section("AUTHORITY", texts(&message.authorities));
    let mut additionals = texts(&message.additionals);
    let opts = usize::from(message.spare_opts) + usize::from(message.opt.is_some());
    additionals.resize(additionals.len() + opts, String::new()); // Packetbeat shows EDNS as nothing
    section("ADDITIONAL", additionals);
    out
}

#[cfg(test)]
mod tests;
