//! All interfaces of a run, read in turns; those that go away are waited for.
//!
//! In: names. Out: packets, counts, and remarks for the user, each once. Waiting ends at once when a packet arrives,
//! when an interface changes, or when the wake socket is written to: no flag is ever polled behind a blocking read.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::interface::{HOLD_BACK, Interface, OpenError, Settings};
use super::links::{Links, News, State};
use super::{Counts, InterfaceNumber, Rest};
use crate::packet::PacketBatch;

/// The interfaces of a run.
pub struct Sniffer {
    ports: Vec<Port>,
    links: Option<Links>,
    /// Readable when the run is to end.
    wake: UnixStream,
    settings: Settings,
    counts: Counts,
    remarks: Vec<String>,
    /// This host's, where they changed.
    addresses: Option<Vec<IpAddr>>,
    /// All interfaces, opened beforehand and filtered down to those that came back when we could not open them anew.
    spare: Option<Interface>,
}

/// An interface as named, whether or not it is there now.
struct Port {
    name: String,
    number: InterfaceNumber,
    /// Its number in the kernel while it is open.
    index: Option<u32>,
    open: Option<Interface>,
    /// It came back and is read through the spare.
    spared: bool,
    down: bool,
    /// Reopening failed for this reason, which was told.
    told: String,
}

impl Sniffer {
    /// Opens all of `names`. Waiting ends when `wake` becomes readable.
    ///
    /// # Errors
    /// [`OpenError`] of the first that cannot be opened.
    pub fn open(names: &[String], settings: Settings, wake: UnixStream) -> Result<Self, OpenError> {
        let mut sniffer = Self {
            ports: Vec::new(),
            links: Links::open().ok(),
            wake,
            settings,
            counts: Counts::default(),
            remarks: Vec::new(),
            addresses: None,
            spare: None,
        };
        for (name, number) in names.iter().zip(0..) {
            let (open, remark) = Interface::open(name, number, &sniffer.settings)?;
            sniffer.remarks.extend(remark);
            let index = index_of(name);
            let port = Port {
                name: name.clone(),
                number,
                index,
                open: Some(open),
                spared: false,
                down: false,
                told: String::new(),
            };
            sniffer.ports.push(port);
        }
        Ok(sniffer)
    }

    /// Prepares for interfaces that come back when the privilege to open them is gone.
    pub fn prepare_for_return(&mut self) {
        if self.ports.iter().any(|port| port.index.is_some()) {
            let buffer = self.settings.buffer.min(SPARE_BUFFER);
            let settings =
                Settings { promiscuous: false, buffer, filters: self.spare_filters(), ..self.settings.clone() };
            self.spare = Interface::open("any", 0, &settings).ok().map(|(open, _)| open);
        }
    }

    /// What the spare is to let through.
    fn spare_filters(&self) -> Vec<String> {
        let spared = self.ports.iter().filter(|port| port.spared).filter_map(|port| port.index);
        let which: String = spared.map(|index| format!(" or ifindex {index}")).collect();
        // No interface has number 0.
        let only = |rest: &str| format!("(ifindex 0{which}){rest}");
        match self.settings.filters.as_slice() {
            [] => vec![only("")],
            filters => filters
                .iter()
                .map(|f| only(&if f.is_empty() { String::new() } else { format!(" and ({f})") }))
                .collect(),
        }
    }

    /// Waits until there is something to read or to know, at most so long; `true` where [`Self::attend`] has something to
    /// do.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<bool> {
        let ports = self.ports.iter().filter_map(|port| port.open.as_ref());
        let links = self.links.as_ref().map(Links::fd);
        let fds = links.into_iter().chain([self.wake.as_fd()]).chain(ports.chain(&self.spare).map(Interface::fd));
        let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(at_most).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                let first = fds.first().filter(|_| self.links.is_some());
                Ok(first.is_some_and(|links| !links.revents().is_empty()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what waits, every interface in its turn, until nothing does or `batch` is full.
    pub fn read(&mut self, batch: &mut PacketBatch) -> Rest {
        loop {
            let before = batch.len();
            for port in &mut self.ports {
                if batch.is_full() {
                    return Rest::Full;
                }
                let Some(mut open) = port.open.take() else { continue };
                match open.read(batch) {
                    Ok(_) => port.open = Some(open),
                    Err(reason) => {
                        leave(open, batch, &mut self.counts);
                        self.remarks.push(format!("{}: {reason}; waiting for it to come back", port.name));
                        port.index = None;
                    }
                }
            }
            if let Some(spare) = self.spare.as_mut().filter(|_| !batch.is_full()) {
                // Where even this fails there is nothing left to try.
                if spare.read(batch).is_err() {
                    self.spare = None;
                }
            }
            if batch.len() == before {
                return Rest::Nothing;
            }
        }
    }

    /// Sees to interfaces that changed, and adds up the counts: to be called now and then, at least once a second. What an
    /// interface that is gone still held is put into `batch`.
    pub fn attend(&mut self, batch: &mut PacketBatch) -> Counts {
        let (news, addresses) = self.links.as_mut().map(Links::news).unwrap_or_default();
        self.addresses = addresses.or(self.addresses.take());
        for news in &news {
            self.hear(news, batch);
        }
        let mut spare_changes = false;
        for port in &mut self.ports {
            match &mut port.open {
                Some(open) => open.count(&mut self.counts),
                None if port.spared => {}
                None => spare_changes |= port.reopen(&self.settings, self.spare.is_some(), &mut self.remarks),
            }
        }
        if spare_changes {
            self.narrow_spare();
        }
        if let Some(spare) = &mut self.spare {
            spare.count(&mut self.counts);
        }
        self.counts
    }

    /// Counts for the last time: from now on, what was counted is read and nothing else.
    pub fn close(&mut self) -> Counts {
        let ports = self.ports.iter_mut().filter_map(|port| port.open.as_mut());
        ports.chain(&mut self.spare).for_each(|open| open.close(&mut self.counts));
        self.counts
    }

    /// Packets that are still to be read after [`Self::close`]; on loopback interfaces, at most so many.
    pub fn waiting(&self) -> u64 {
        self.ports.iter().filter_map(|port| port.open.as_ref()).chain(&self.spare).map(Interface::waiting).sum()
    }

    /// What the user should know, each thing once.
    pub fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// All addresses of this host, if they changed since the last call.
    pub fn addresses(&mut self) -> Option<Vec<IpAddr>> {
        self.addresses.take()
    }

    /// How many interfaces are open now, and how many were named.
    pub fn open_ports(&self) -> (usize, usize) {
        (self.ports.iter().filter(|port| port.open.is_some() || port.spared).count(), self.ports.len())
    }

    fn narrow_spare(&mut self) {
        let filters = self.spare_filters();
        if let Some(Err(reason)) = self.spare.as_mut().map(|spare| spare.narrow(&filters)) {
            self.remarks.push(format!("any: {reason}"));
        }
    }

    fn hear(&mut self, news: &News, batch: &mut PacketBatch) {
        for port in self.ports.iter_mut().filter(|port| port.index == Some(news.index)) {
            let down = news.state == State::Down;
            match news.state {
                State::Gone => {
                    self.remarks.push(format!("{}: removed; waiting for it to come back", port.name));
                    if let Some(open) = port.open.take() {
                        leave(open, batch, &mut self.counts);
                    }
                    (port.index, port.spared) = (None, false);
                }
                State::Up | State::Down if down != port.down => {
                    port.down = down;
                    let how = if down { "is down" } else { "is up again" };
                    self.remarks.push(format!("{}: {how}", port.name));
                }
                State::Up | State::Down => {}
            }
            if news.state != State::Gone && news.name != port.name {
                self.remarks.push(format!("{}: is now called {}; still watched", port.name, news.name));
                port.name.clone_from(&news.name);
            }
        }
    }
}

/// Takes what an interface that is gone still holds: the kernel hands on its last block a moment later. What does not
/// come is counted as lost with it.
fn leave(mut open: Interface, batch: &mut PacketBatch, counts: &mut Counts) {
    open.close(counts);
    for _ in 0..5 {
        // That it is gone is all that an error can say.
        while !batch.is_full() && open.read(batch).is_ok_and(|packets| packets > 0) {}
        if open.waiting() == 0 {
            break;
        }
        std::thread::sleep(HOLD_BACK);
    }
    counts.interface += open.waiting();
}

impl Port {
    /// Tries to watch it again; `true` when it is to be read through the spare from now on.
    fn reopen(&mut self, settings: &Settings, spare: bool, remarks: &mut Vec<String>) -> bool {
        let Some(index) = index_of(&self.name) else { return false };
        match Interface::open(&self.name, self.number, settings) {
            Ok((open, _)) => {
                (self.open, self.index, self.down) = (Some(open), Some(index), false);
                self.told.clear();
                remarks.push(format!("{}: is back and watched again", self.name));
            }
            Err(OpenError::Refused { .. }) if spare => {
                (self.spared, self.index, self.down) = (true, Some(index), false);
                let how = "is back and watched again, through `any` and not in promiscuous mode";
                remarks.push(format!("{}: {how}", self.name));
            }
            Err(error) => {
                let error = error.to_string();
                if error != self.told {
                    remarks.push(error.clone());
                    self.told = error;
                }
            }
        }
        self.spared
    }
}

/// Ring of the spare, which is hardly ever used, in bytes.
const SPARE_BUFFER: u64 = 1 << 20;

/// The kernel's number of an interface; `None` for `any` and for what is not there.
fn index_of(name: &str) -> Option<u32> {
    use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()?;
    name_to_index(&socket, name).ok()
}
