//! What workers tell the publisher: observations, each with the place in the run that it belongs to.
//!
//! Workers see only their own packets, so what they report carries the number of the packet that completed it and is
//! merged by it. What expires, expires on ticks that every worker gets at the same packet, so the merged order is the
//! same for one worker or many and for any batch size.

use crate::conn::Order;
use crate::packet::Timestamp;

/// One thing that a worker found.
#[derive(Debug)]
pub struct Observation {
    /// Place in the output.
    pub order: Order,
    /// Packet time of the packet that completed it.
    pub time: Timestamp,
    /// What it is.
    pub what: What,
}

/// Bytes that a processor fetches together.
const CACHE_LINE: usize = 64;

impl Observation {
    /// About how many bytes of memory it takes: what bounds observations on their way between threads.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + match &self.what {
                What::Http(exchange) => {
                    let messages = [&exchange.0.request, &exchange.0.response].into_iter().flatten();
                    messages.map(|message| message.head.raw.len() + message.body.captured.len() + 1024).sum()
                }
                What::Dns(exchange) => {
                    let messages = [&exchange.0.query, &exchange.0.response].into_iter().flatten();
                    messages.map(|message| dns_weight(message)).sum::<usize>() + 512
                }
                _ => 512,
            }
    }

    /// Reads a byte of each cache line of an exchange's heads: another processor wrote them, and who waits for one line
    /// after the other waits long. Of other kinds there is less to read.
    pub fn warm(&self) {
        let What::Http(exchange) = &self.what else { return };
        let (tx, verdict) = &**exchange;
        let head = |head: &crate::proto::http::Head| {
            let fields = head.fields.iter().step_by(CACHE_LINE / size_of::<crate::proto::http::Field>());
            let raw = head.raw.iter().step_by(CACHE_LINE);
            fields.fold(0, |sum, (name, _)| sum ^ name.start) ^ raw.fold(0, |sum, byte| sum ^ u32::from(*byte))
        };
        let heads = tx.request.iter().chain(&tx.response).map(|message| head(&message.head));
        let path = verdict.imds.as_ref().map_or(0, |imds| imds.path.len() ^ imds.headers.len());
        std::hint::black_box((heads.fold(0, |sum, head| sum ^ head), path));
    }
}

/// Kinds of observations.
#[derive(Debug)]
pub enum What {
    /// An HTTP exchange, or one side of it, with what the matcher says of it.
    Http(Box<(crate::proto::http::Transaction, crate::detect::Verdict)>),
    /// A DNS transaction, with what the matcher says of it.
    Dns(Box<(crate::proto::dns::Transaction, crate::detect::DnsVerdict)>),
    /// An ICMP transaction.
    Icmp(Box<crate::proto::icmp::Transaction>),
    /// A flow's record.
    Flow(Box<crate::flow::Record>),
    /// A connection to a metadata address ended, or grew old, without a request that could be read.
    Connection(Box<crate::detect::Connection>),
    /// Keyed hashes of credential-shaped tokens in cleartext, for the relay search.
    Tokens(Box<crate::detect::Tokens>),
    /// A process was started whose command line names metadata.
    Command(Box<crate::detect::Command>),
}

/// A record with names as long as they can be: they are short on the wire and long in memory.
const RECORD: usize = 640;

fn dns_weight(message: &crate::proto::dns::Message) -> usize {
    let records = message.answers.len() + message.authorities.len() + message.additionals.len();
    message.questions.len() * RECORD / 2 + records * RECORD
}
