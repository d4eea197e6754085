//! News of network interfaces from the kernel (rtnetlink, RFC 3549): which one appeared, went down, was renamed or
//! removed.
//!
//! In: messages of a netlink socket, which needs no privilege. Out: [`News`], bounded by what one read holds; anything
//! that cannot be read is left out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with};

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
}

impl Links {
    /// Subscribes.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // No protocol is number 0, NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, RTMGRP_LINK))?;
        Ok(Self { socket })
    }

    /// What to wait on.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Everything that happened since the last call, in order.
    pub(super) fn news(&self) -> Vec<News> {
        let mut news = Vec::new();
        let mut buffer = [0u8; 16 * 1024];
        while let Ok((read, _)) = recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            news.extend(buffer.get(..read).map(parse).unwrap_or_default());
        }
        news
    }
}

const RTMGRP_LINK: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const IFLA_IFNAME: u16 = 3;
const IFF_UP: u32 = 1;
/// Length of `nlmsghdr` and of `ifinfomsg`.
const HEADER: usize = 16;

/// All link messages of a datagram; numbers are in the host's byte order.
fn parse(mut datagram: &[u8]) -> Vec<News> {
    let mut news = Vec::new();
    while let Some(length) = u32_at(datagram, 0).map(|length| length as usize).filter(|length| *length >= HEADER) {
        let Some(message) = datagram.get(..length) else { break };
        news.extend(link(message));
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    news
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
    let mut attributes = message.get(2 * HEADER..)?;
    while let Some(length) = u16_at(attributes, 0).map(usize::from).filter(|length| *length >= 4) {
        if u16_at(attributes, 2)? == IFLA_IFNAME {
            let text = attributes.get(4..length)?.split(|byte| *byte == 0).next()?;
            return Some(News { index, name: String::from_utf8_lossy(text).into_owned(), state });
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
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
        assert_eq!(parse(&datagram), expected);
        for cut in 0..datagram.len() {
            assert!(parse(&datagram[..cut]).len() < 3, "a message that is cut off says nothing");
        }
    }
}
