//! One network interface, opened through libpcap: non-blocking, promiscuous where that is possible, nanoseconds where
//! the system has them.
//!
//! In: a name and [`Settings`]. Out: packets, one turn at a time, and 64-bit counts out of libpcap's 32-bit ones.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pcap::{Active, Capture, Device, Linktype, Precision, Stat};

use super::{Counts, InterfaceNumber};
use crate::packet::{LinkType, PacketBatch, Timestamp};

/// How interfaces are opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes captured of each packet.
    pub snaplen: u32,
    /// The kernel's ring, in bytes.
    pub buffer: u64,
    /// Promiscuous mode.
    pub promiscuous: bool,
    /// In tcpdump's language; the first that fits the interface's link is used, the empty one lets everything through.
    pub filters: Vec<String>,
}

/// Why an interface cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refuses; the text says what is needed.
    #[error(
        "{name}: not permitted to capture ({reason}); CAP_NET_RAW is needed: run as root, or grant it once with \
         `setcap cap_net_raw+ep $(command -v imdswatch)`, in a container with `--cap-add NET_RAW`"
    )]
    Refused {
        /// Interface.
        name: String,
        /// libpcap's words.
        reason: String,
    },
    /// There is no such interface, or it cannot be captured from.
    #[error("{name}: {reason}; `imdswatch interfaces` lists what there is")]
    Failed {
        /// Interface.
        name: String,
        /// libpcap's words.
        reason: String,
    },
    /// The filter does not fit the interface.
    #[error("{name}: filter \"{filter}\": {reason}")]
    Filter {
        /// Interface.
        name: String,
        /// The expression.
        filter: String,
        /// libpcap's words.
        reason: String,
    },
}

/// How long the kernel may hold back a packet to hand on several at once: short enough that nobody waits, long enough that
/// a busy interface wakes us a hundred times a second at most.
pub(super) const HOLD_BACK: Duration = Duration::from_millis(10);

/// Packets taken from one interface before the next has its turn.
const TURN: u64 = 64;

/// An open interface.
pub(super) struct Interface {
    number: InterfaceNumber,
    capture: Capture<Active>,
    link: LinkType,
    nanos: bool,
    last: (u32, u32, u32),
    /// Counted by the kernel and neither thrown away there nor taken yet.
    waiting: u64,
    /// Nothing is counted any more, and what was not counted is not taken.
    closed: bool,
}

impl Interface {
    /// Opens `name`; what had to be done without is told in words.
    pub(super) fn open(
        name: &str,
        number: InterfaceNumber,
        settings: &Settings,
    ) -> Result<(Self, Option<String>), OpenError> {
        let attempts = [(true, true), (false, true), (true, false), (false, false)];
        let mut refused = String::new();
        for (promiscuous, nanos) in attempts.into_iter().filter(|(promisc, _)| settings.promiscuous || !promisc) {
            match activate(name, settings, promiscuous, nanos) {
                Ok(capture) => {
                    let remark = (settings.promiscuous && !promiscuous)
                        .then(|| format!("{name}: not in promiscuous mode: {refused}"));
                    return Ok((Self::new(name, number, capture, settings, nanos)?, remark));
                }
                Err(reason) if refused.is_empty() => refused = reason,
                Err(_) => {}
            }
        }
        let (name, reason) = (name.to_owned(), refused);
        let permission = ["permi", "CAP_NET_RAW", "not permitted"].iter().any(|word| reason.contains(word));
        Err(if permission { OpenError::Refused { name, reason } } else { OpenError::Failed { name, reason } })
    }

    fn new(
        name: &str,
        number: InterfaceNumber,
        mut capture: Capture<Active>,
        settings: &Settings,
        nanos: bool,
    ) -> Result<Self, OpenError> {
        let failed = |error: pcap::Error| OpenError::Failed { name: name.to_owned(), reason: words(&error) };
        // Packets of `any` with the number of their interface, where libpcap offers it.
        let cooked = Linktype(i32::from(LinkType::LINUX_SLL2.0));
        if capture.get_datalink() == Linktype(i32::from(LinkType::LINUX_SLL.0))
            && capture.list_datalinks().is_ok_and(|all| all.contains(&cooked))
        {
            capture.set_datalink(cooked).map_err(failed)?;
        }
        set_filter(&mut capture, &settings.filters).map_err(|(filter, reason)| OpenError::Filter {
            name: name.to_owned(),
            filter,
            reason,
        })?;
        let link = match capture.get_datalink() {
            // Raw IP has another number in files.
            Linktype(12) => LinkType::RAW,
            Linktype(number) => LinkType(u16::try_from(number).unwrap_or(u16::MAX)),
        };
        let capture = capture.setnonblock().map_err(failed)?;
        Ok(Self { number, capture, link, nanos, last: (0, 0, 0), waiting: 0, closed: false })
    }

    /// Sets another filter; needs no privilege.
    pub(super) fn narrow(&mut self, filters: &[String]) -> Result<(), String> {
        set_filter(&mut self.capture, filters).map_err(|(filter, reason)| format!("filter \"{filter}\": {reason}"))
    }

    /// What to wait on.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }

    /// Takes one turn's packets; returns how many.
    ///
    /// # Errors
    /// In libpcap's words, when the interface is gone or the system fails.
    pub(super) fn read(&mut self, batch: &mut PacketBatch) -> Result<usize, String> {
        let unit = if self.nanos { 1 } else { 1_000 };
        let (link, number) = (self.link, self.number);
        let turn = if self.closed { self.waiting.min(TURN) } else { TURN };
        let read = self.capture.dispatch(Some(turn as usize), |packet| {
            let time = Timestamp::new(packet.header.ts.tv_sec, packet.header.ts.tv_usec * unit);
            batch.push(time, link, number, packet.header.len, packet.data);
        });
        match read {
            Ok(packets) => {
                self.waiting = self.waiting.wrapping_sub(packets as u64);
                Ok(packets)
            }
            Err(pcap::Error::TimeoutExpired) => Ok(0),
            Err(error) => Err(words(&error)),
        }
    }

    /// Adds what was counted since the last call. libpcap's counters are 32 bits wide and wrap; its interface drops may
    /// also run backwards, which counts as none.
    pub(super) fn count(&mut self, into: &mut Counts) {
        if self.closed {
            return;
        }
        let Ok(Stat { received, dropped, if_dropped }) = self.capture.stats() else { return };
        let (r, d, i) = std::mem::replace(&mut self.last, (received, dropped, if_dropped));
        let forward = |delta: u32| u64::from(delta.cast_signed().max(0).cast_unsigned());
        let (received, dropped) = (u64::from(received.wrapping_sub(r)), u64::from(dropped.wrapping_sub(d)));
        into.received += received;
        into.kernel += dropped;
        self.waiting = self.waiting.wrapping_add(received.saturating_sub(dropped));
        into.interface += forward(if_dropped.wrapping_sub(i));
    }

    /// Counts for the last time. What comes afterwards belongs to nobody's run: it is neither counted nor taken.
    pub(super) fn close(&mut self, into: &mut Counts) {
        self.count(into);
        self.closed = true;
    }

    /// Packets that were counted and not taken yet, once it is closed. On a loopback interface libpcap takes out what
    /// was seen before, on its way out, and this many never come.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }
}

fn activate(name: &str, settings: &Settings, promiscuous: bool, nanos: bool) -> Result<Capture<Active>, String> {
    let snaplen = i32::try_from(settings.snaplen).unwrap_or(i32::MAX);
    let buffer = i32::try_from(settings.buffer).unwrap_or(i32::MAX);
    let capture = Capture::from_device(name).map_err(|error| words(&error))?;
    let capture =
        capture.snaplen(snaplen).buffer_size(buffer).promisc(promiscuous).timeout(HOLD_BACK.as_millis() as i32);
    let capture = capture.precision(if nanos { Precision::Nano } else { Precision::Micro });
    capture.open().map_err(|error| words(&error))
}

/// Sets the first filter that can be set; else returns the first and what is wrong with it.
fn set_filter(capture: &mut Capture<Active>, filters: &[String]) -> Result<(), (String, String)> {
    let mut outcome = Ok(());
    for filter in filters {
        match capture.filter(filter, true) {
            Ok(()) => return Ok(()),
            Err(error) if outcome.is_ok() => outcome = Err((filter.clone(), words(&error))),
            Err(_) => {}
        }
    }
    outcome
}

/// libpcap's words without the crate's frame.
fn words(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An interface as `imdswatch interfaces` shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Name.
    pub name: String,
    /// `up`, `down`, `loopback`, …
    pub state: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it can be opened, or why not.
    pub opens: Result<(), String>,
}

/// All interfaces that packets could be captured from.
///
/// # Errors
/// In libpcap's words.
pub fn list() -> Result<Vec<Listed>, String> {
    let devices = Device::list().map_err(|error| words(&error))?;
    let networks = devices.into_iter().filter(|device| {
        let name = device.name.as_str();
        !["nflog", "nfqueue", "dbus", "bluetooth", "usbmon", "rdma"].iter().any(|other| name.starts_with(other))
    });
    Ok(networks.map(listed).collect())
}

/// Addresses of this host.
pub fn addresses() -> Vec<IpAddr> {
    let devices = Device::list().unwrap_or_default();
    devices.into_iter().flat_map(|device| device.addresses).map(|address| address.addr).collect()
}

fn listed(device: Device) -> Listed {
    let flags = &device.flags;
    let mut state = vec![if flags.is_up() { "up" } else { "down" }];
    state.extend(flags.is_loopback().then_some("loopback"));
    state.extend(flags.is_wireless().then_some("wireless"));
    let settings = Settings { snaplen: 256, buffer: 1 << 20, promiscuous: false, filters: Vec::new() };
    Listed {
        state: state.join(", "),
        addresses: device.addresses.iter().map(|address| address.addr).collect(),
        opens: activate(&device.name, &settings, false, true).map(drop),
        name: device.name,
    }
}
