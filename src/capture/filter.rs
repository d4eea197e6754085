//! BPF filters of replayed packets, in tcpdump's language.
//!
//! In: the words of the command line. Out: whether a packet matches. libpcap compiles the expression once for each link
//! type that occurs.

use pcap::{Capture, Linktype};

use super::CaptureError;
use super::bpf::Program;
use crate::packet::{LinkType, PacketBatch};

/// A BPF expression.
#[derive(Debug)]
pub struct Filter {
    expression: String,
    compiled: Vec<Compiled>,
}

/// The expression for one link type; without a program, no packet of that link type matches.
#[derive(Debug)]
struct Compiled {
    link: LinkType,
    program: Option<Program>,
}

impl Filter {
    /// Link types that most expressions make sense for: what compiles for none of them is taken for a mistake.
    const COMMON: [LinkType; 5] =
        [LinkType::ETHERNET, LinkType::LINUX_SLL2, LinkType::RAW, LinkType(127), LinkType(117)];

    /// Checks the expression that `words` make when they are joined by blanks. No words match every packet.
    ///
    /// # Errors
    /// [`CaptureError::Filter`] when libpcap understands it for no common link type.
    pub fn compile(words: &[String]) -> Result<Self, CaptureError> {
        let expression = words.join(" ");
        let mut reason = String::new();
        for link in Self::COMMON {
            match compile(&expression, link) {
                Ok(_) => return Ok(Self { expression, compiled: Vec::new() }),
                Err(error) if reason.is_empty() => reason = error,
                Err(_) => {}
            }
        }
        Err(CaptureError::Filter { expression, reason })
    }

    /// Whether a packet of `wire_len` bytes, of which `data` was captured, matches.
    ///
    /// # Errors
    /// [`CaptureError::FilterLink`] at the first packet of a link type that the expression cannot be compiled for; none
    /// of them match.
    pub fn matches(&mut self, link: LinkType, data: &[u8], wire_len: u32) -> Result<bool, CaptureError> {
        let known = match self.compiled.iter().position(|one| one.link == link) {
            Some(known) => known,
            None => self.learn(link)?,
        };
        let program = self.compiled.get(known).and_then(|one| one.program.as_ref());
        let data = data.get(before_ip(link)..).unwrap_or_default();
        Ok(program.is_some_and(|program| program.matches(data, wire_len)))
    }

    /// Takes the packets that do not match out of `batch`.
    ///
    /// # Errors
    /// As [`Self::matches`]; the whole batch is filtered all the same.
    pub fn apply(&mut self, batch: &mut PacketBatch) -> Result<(), CaptureError> {
        let mut result = Ok(());
        batch.retain(|packet| match self.matches(packet.link, packet.data, packet.wire_len) {
            Ok(matches) => matches,
            Err(error) => {
                result = Err(error);
                false
            }
        });
        result
    }

    /// Compiles the expression for another link type. There are as many as a capture has, at most 2^16.
    fn learn(&mut self, link: LinkType) -> Result<usize, CaptureError> {
        let compiled = compile(&self.expression, link);
        let (program, reason) = match compiled {
            Ok(program) => (Some(program), None),
            Err(reason) => (None, Some(reason)),
        };
        self.compiled.push(Compiled { link, program });
        match reason {
            None => Ok(self.compiled.len() - 1),
            Some(reason) => Err(CaptureError::FilterLink { expression: self.expression.clone(), link, reason }),
        }
    }
}

fn compile(expression: &str, link: LinkType) -> Result<Program, String> {
    let link = if before_ip(link) > 0 { LinkType::RAW } else { link };
    let compiled = Capture::dead(Linktype(dlt(link))).and_then(|dead| dead.compile(expression, true));
    let compiled = compiled.map_err(|error| match error {
        pcap::Error::PcapError(text) => text,
        other => other.to_string(),
    })?;
    Program::new(&compiled).ok_or_else(|| "libpcap compiled it into something that is no BPF program".into())
}

/// libpcap's number of a link type on this system: a few differ from those in files.
pub(super) fn dlt(link: LinkType) -> i32 {
    match link {
        LinkType::RAW | LinkType::RAW_OPENBSD => i32::from(LinkType::RAW_BSD.0),
        LinkType(100) => 11, // ATM_RFC1483
        LinkType(other) => i32::from(other),
    }
}

/// Bytes before the IP header that a filter does not see. The address family of the BSD loopback is in the byte order
/// and the numbers of the host that captured, libpcap looks for this host's; the IP version says the same.
fn before_ip(link: LinkType) -> usize {
    match link {
        LinkType::NULL | LinkType::LOOP => 4,
        _ => 0,
    }
}
