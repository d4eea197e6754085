//! News of network interfaces from the kernel (rtnetlink, RFC 3549): which one appeared, went down, was renamed or
//! removed, and which addresses they have.
//!
//! In: messages of a netlink socket, which needs no privilege. Out: [`News`], bounded by what one read holds; anything
//! that cannot be read is left out.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send, socket_with,
};

/// What became of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// Its number: survives a change of name.
    pub(super) index: u32,
    /// Its name now.
    pub(super) name: String,
    /// How it is.
    pub(super) state: State,
}

/// How an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Down,
    Gone,
}

/// A socket that tells.
pub(super) struct Links {
    socket: OwnedFd,
    /// Addresses of this host, each with the number of its interface.
    addresses: BTreeSet<(u32, IpAddr)>,
}

impl Links {
    /// Subscribes.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // No protocol is number 0, NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))?;
        let links = Self { socket, addresses: BTreeSet::new() };
        links.ask()?;
        Ok(links)
    }

    /// What to wait on.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Everything that happened to interfaces since the last call, in order, and all addresses if they changed.
    pub(super) fn news(&mut self) -> (Vec<News>, Option<Vec<IpAddr>>) {
        let (mut news, before) = (Vec::new(), self.addresses.clone());
        let mut buffer = [0u8; 16 * 1024];
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((read, _)) => {
                    for message in messages(buffer.get(..read).unwrap_or_default()) {
                        news.extend(link(message));
                        match address(message) {
                            Some((address, true)) => drop(self.addresses.insert(address)),
                            Some((address, false)) => drop(self.addresses.remove(&address)),
                            None => {}
                        }
                    }
                }
                // Messages were lost: what addresses there are is asked anew.
                Err(Errno::NOBUFS) => {
                    self.addresses.clear();
                    let _ = self.ask();
                }
                Err(_) => break,
            }
        }
        let changed = self.addresses != before;
        (news, changed.then(|| self.addresses.iter().map(|(_, ip)| *ip).collect()))
    }

    /// Asks for all addresses there are.
    fn ask(&self) -> io::Result<()> {
        let length = (HEADER + 4) as u32;
        // Sequence and port are 0, the body is a family: any.
        let head = [&length.to_ne_bytes()[..], &RTM_GETADDR.to_ne_bytes(), &NLM_F_DUMP.to_ne_bytes()].concat();
        send(&self.socket, &[&head[..], &[0; 12]].concat(), SendFlags::empty())?;
        Ok(())
    }
}

const RTMGRP_LINK: u32 = 1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
/// NLM_F_REQUEST, and the dump flags NLM_F_ROOT and NLM_F_MATCH.
const NLM_F_DUMP: u16 = 0x301;
const IFLA_IFNAME: u16 = 3;
/// The address, or that of the other end; then this end's is an attribute of its own.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;
/// Length of `nlmsghdr` and of `ifinfomsg`.
const HEADER: usize = 16;
/// Length of `ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;

/// All messages of a datagram; numbers are in the host's byte order.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(datagram, 0)?).ok().filter(|length| *length >= HEADER)?;
        let message = datagram.get(..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// All attributes: their kind and their value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let attribute = (u16_at(bytes, 2)?, bytes.get(4..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(attribute)
    })
}

/// An address with its interface, and whether it is there now.
fn address(message: &[u8]) -> Option<((u32, IpAddr), bool)> {
    let kind = u16_at(message, 4).filter(|kind| [RTM_NEWADDR, RTM_DELADDR].contains(kind))?;
    let index = u32_at(message, HEADER + 4)?;
    let find = |wanted| attributes(message.get(HEADER + ADDRESS_HEADER..)?).find(|(kind, _)| *kind == wanted);
    let (_, bytes) = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
    Some(((index, ip), kind == RTM_NEWADDR))
}

fn link(message: &[u8]) -> Option<News> {
    let kind = u16_at(message, 4)?;
    let index = u32_at(message, HEADER + 4)?;
    let flags = u32_at(message, HEADER + 8)?;
    let state = match kind {
        RTM_DELLINK => State::Gone,
        RTM_NEWLINK if flags & IFF_UP != 0 => State::Up,
        RTM_NEWLINK => State::Down,
        _ => return None,
    };
    let (_, name) = attributes(message.get(2 * HEADER..)?).find(|(kind, _)| *kind == IFLA_IFNAME)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(News { index, name: String::from_utf8_lossy(name).into_owned(), state })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, index: u32, flags: u32, name: &str) -> Vec<u8> {
        let mut body = [&[0u8; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 4]].concat();
        body.extend([8u16.to_ne_bytes(), 44u16.to_ne_bytes()].concat());
        body.extend([0; 4]);
        body.extend([(name.len() as u16 + 5).to_ne_bytes(), IFLA_IFNAME.to_ne_bytes()].concat());
        body.extend(name.bytes().chain([0]));
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (HEADER + body.len()) as u32;
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &body].concat()
    }

    #[test]
    fn several_messages_in_one_datagram() {
        let datagram = [message(16, 7, 1, "veth0"), message(16, 7, 0, "veth0"), message(17, 7, 0, "new")].concat();
        let news = |name: &str, state| News { index: 7, name: name.into(), state };
        let expected = [news("veth0", State::Up), news("veth0", State::Down), news("new", State::Gone)];
        let parse = |datagram| messages(datagram).filter_map(link).collect::<Vec<_>>();
        assert_eq!(parse(&datagram), expected);
        for cut in 0..datagram.len() {
            assert!(parse(&datagram[..cut]).len() < 3, "a message that is cut off says nothing");
        }
    }

    #[test]
    fn addresses_of_this_end() {
        let message = |kind: u16, attributes: &[(u16, &[u8])]| {
            let mut body = [&[2, 24, 0, 0][..], &7u32.to_ne_bytes()].concat();
            for (kind, value) in attributes {
                body.extend([(value.len() as u16 + 4).to_ne_bytes(), kind.to_ne_bytes()].concat());
                body.extend(*value);
            }
            let length = (HEADER + body.len()) as u32;
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &body].concat()
        };
        let (theirs, ours) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        assert_eq!(address(&message(20, &[(1, &ours)])), Some(((7, ours.into()), true)));
        assert_eq!(address(&message(21, &[(1, &theirs), (2, &ours)])), Some(((7, ours.into()), false)));
        assert_eq!(address(&message(20, &[(1, &[0; 16])])), Some(((7, IpAddr::from([0u8; 16])), true)));
        assert_eq!(address(&message(20, &[(1, &[0; 5])])), None);
        assert_eq!(address(&message(16, &[(1, &ours)])), None, "of a link");
    }

    #[test]
    fn this_hosts_addresses_are_told() {
        let Ok(mut links) = Links::open() else { return };
        let told = links.news().1.unwrap_or_default();
        assert_eq!(BTreeSet::from_iter(told), BTreeSet::from_iter(super::super::addresses()));
        assert_eq!(links.news().1, None, "nothing changed");
    }
}
