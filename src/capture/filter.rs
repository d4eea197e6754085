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
    hidden: u64,
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
        // libpcap is not called without need: on Windows it is a library (Npcap) that many machines do not have.
        if expression.trim().is_empty() {
            return Ok(Self { expression, compiled: Vec::new(), hidden: 0 });
        }
        let mut reason = String::new();
        for link in Self::COMMON {
            match compile(&expression, link) {
                Ok(_) => return Ok(Self { expression, compiled: Vec::new(), hidden: 0 }),
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
        if self.expression.trim().is_empty() {
            return Ok(true);
        }
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
            Ok(true) => true,
            Ok(false) => {
                let bare = (packet.link == LinkType::ETHERNET).then(|| without_tags(packet.data)).flatten();
                let is_hidden =
                    bare.is_some_and(|bare| matches!(self.matches(packet.link, &bare, packet.wire_len), Ok(true)));
                self.hidden = self.hidden.saturating_add(u64::from(is_hidden));
                false
            }
            Err(error) => {
                result = Err(error);
                false
            }
        });
        result
    }

    /// Packets that [`Self::apply`] took out although what stands behind their VLAN tags or MPLS labels matches.
    pub fn hidden(&self) -> u64 {
        self.hidden
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
            None => Ok(self.compiled.len().saturating_sub(1)),
            Some(reason) => Err(CaptureError::FilterLink { expression: self.expression.clone(), link, reason }),
        }
    }
}

fn compile(expression: &str, link: LinkType) -> Result<Program, String> {
    library_is_there()?;
    let link = if before_ip(link) > 0 { LinkType::RAW } else { link };
    let compiled = Capture::dead(Linktype(dlt(link))).and_then(|dead| dead.compile(expression, true));
    let compiled = compiled.map_err(|error| match error {
        pcap::Error::PcapError(text) => text,
        other => other.to_string(),
    })?;
    Program::new(&compiled).ok_or_else(|| "libpcap compiled it into something that is no BPF program".into())
}

/// Most VLAN tags and MPLS labels of a frame.
const TAGS: usize = 4;

/// An Ethernet frame as it would be without VLAN tags and MPLS labels; `None` if it has none.
fn without_tags(frame: &[u8]) -> Option<Vec<u8>> {
    let macs = frame.get(..12)?;
    let mut rest = frame.get(12..)?;
    for _ in 0..TAGS {
        rest = match rest {
            [0x81 | 0x91, 0, _, _, after @ ..] | [0x88, 0xa8, _, _, after @ ..] => after,
            [0x88, 0x47 | 0x48, labels @ ..] => return behind_labels(macs, labels),
            _ => break,
        };
    }
    (rest.len() < frame.len().saturating_sub(12)).then(|| [macs, rest].concat())
}

/// A frame of the IP packet behind a stack of labels.
fn behind_labels(macs: &[u8], labels: &[u8]) -> Option<Vec<u8>> {
    let last = labels.chunks_exact(4).take(TAGS).position(|label| label.get(2).is_some_and(|byte| byte & 1 == 1))?;
    let packet = labels.get(last.saturating_add(1).saturating_mul(4)..)?;
    let ethertype: &[u8] = match packet.first()? >> 4 {
        4 => &[0x08, 0x00],
        6 => &[0x86, 0xdd],
        _ => return None,
    };
    Some([macs, ethertype, packet].concat())
}

/// Windows has no libpcap of its own, and a library that is loaded at its first use (`packaging/windows.sh`) ends the program
/// where it is missing: so it is looked for where Windows would look.
#[cfg(windows)]
fn library_is_there() -> Result<(), String> {
    use std::path::PathBuf;
    let system = std::env::var_os("SystemRoot").map(|root| PathBuf::from(root).join("System32"));
    let program = std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = system
        .into_iter()
        .chain(program)
        .chain(std::env::split_paths(&path))
        .any(|dir| dir.join("wpcap.dll").is_file());
    if found {
        return Ok(());
    }
    Err("filters need wpcap.dll, which Npcap (npcap.com) installs in its WinPcap-compatible mode; without a filter it is not needed".into())
}

#[cfg(not(windows))]
fn library_is_there() -> Result<(), String> {
    Ok(())
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

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests {
    use super::*;
    use crate::packet::Timestamp;

    fn filter(expression: &str) -> Result<Filter, CaptureError> {
        Filter::compile(&expression.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    /// IPv4 from 10.0.0.1 to 169.254.169.254, TCP to port 80.
    const IP: [u8; 40] = [
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 169, 254, 169, 254, // IP
        0xc0, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0, // TCP
    ];

    fn framed(header: &[u8]) -> Vec<u8> {
        [header, &IP].concat()
    }

    #[test]
    fn one_expression_serves_every_link_type() {
        let mut filter = filter("host 169.254.169.254 and tcp port 80").unwrap();
        let ethernet = framed(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
        let cooked = framed(&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
        for (link, data) in [
            (LinkType::ETHERNET, &ethernet[..]),
            (LinkType::LINUX_SLL, &cooked),
            (LinkType::RAW, &IP),
            (LinkType::RAW_BSD, &IP),
            (LinkType::IPV4, &IP),
            // Loopback of a little-endian and of a big-endian host.
            (LinkType::NULL, &framed(&[2, 0, 0, 0])),
            (LinkType::NULL, &framed(&[0, 0, 0, 2])),
            (LinkType::LOOP, &framed(&[0, 0, 0, 2])),
        ] {
            assert!(filter.matches(link, data, data.len() as u32).unwrap(), "{link:?}");
            assert!(!filter.matches(link, &data[..20], data.len() as u32).unwrap(), "{link:?} cut short");
        }
    }

    #[test]
    fn packets_left_out_for_their_tags_are_counted() {
        let macs = [0; 12];
        let tagged = framed(&[&macs[..], &[0x81, 0, 0, 7, 8, 0]].concat());
        let labelled = framed(&[&macs[..], &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64]].concat());
        let plain = framed(&[&macs[..], &[8, 0]].concat());
        let hidden = |expression: &str| {
            let mut filter = filter(expression).unwrap();
            let mut batch = PacketBatch::default();
            batch.clear(0);
            for frame in [&plain, &tagged, &labelled] {
                batch.push(Timestamp(0), LinkType::ETHERNET, 0, frame.len() as u32, frame);
            }
            filter.apply(&mut batch).unwrap();
            (filter.hidden(), batch.len())
        };
        assert_eq!(hidden("host 169.254.169.254"), (2, 1));
        assert_eq!(hidden("host 10.9.9.9"), (0, 0));
        assert_eq!(hidden("host 169.254.169.254 or (vlan and host 169.254.169.254)"), (1, 2));
    }

    #[test]
    fn nonsense_is_refused_with_libpcaps_words() {
        let error = filter("host and and").unwrap_err().to_string();
        assert!(error.contains("host and and") && error.contains("syntax error"), "{error}");
        assert!(filter("tcp port 80\0").is_err());
        assert!(filter("").unwrap().matches(LinkType::RAW, b"", 0).unwrap(), "no words match everything");
        assert!(filter("type mgt subtype beacon").is_ok(), "meaningful for wireless captures");
    }

    #[test]
    fn a_link_type_that_the_expression_does_not_fit_is_named_once_and_never_matches() {
        let mut filter = filter("ether host 00:11:22:33:44:55").unwrap();
        let mut batch = PacketBatch::default();
        batch.clear(0);
        let frame = framed(&[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0, 0, 0, 0, 0, 0, 8, 0]);
        for link in [LinkType::RAW, LinkType::ETHERNET, LinkType::RAW] {
            batch.push(Timestamp(0), link, 0, 54, &frame);
        }
        let error = filter.apply(&mut batch).unwrap_err().to_string();
        assert!(error.contains("link type 101 (RAW)"), "{error}");
        assert_eq!(batch.iter().map(|packet| packet.link).collect::<Vec<_>>(), [LinkType::ETHERNET]);
        assert!(!filter.matches(LinkType::RAW, &IP, 40).unwrap());
    }
}
