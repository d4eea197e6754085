//! The SOCKS 4, 4a and 5 conversation that comes before a proxied stream (RFC 1928, RFC 1929).
//!
//! In: what both sides sent so far. Out: the target and how many bytes of each side belong to the conversation. Bound:
//! [`MAX`] bytes per side; credentials of the conversation are passed over and wiped.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Next;
use super::probe::{Kind, Probe};
use crate::bytes::Reader;
use crate::conn::Bytes;
use crate::proto::http::{MAX_PROBE, wipe};
use crate::stream::Dir;

/// Bytes kept per side until the conversation ends.
const MAX: usize = 4096;

/// A conversation in progress.
#[derive(Default)]
pub(super) struct Socks {
    client: Vec<u8>,
    server: Vec<u8>,
}

/// Whether a client's first bytes begin a conversation. SOCKS 5 (RFC 1928): version, number of methods, that many methods.
/// SOCKS 4: version, command, port, address, user id with its end.
pub(super) fn probe(bytes: &[u8]) -> Probe {
    const SOCKS: Probe = Probe::Is(Kind::Socks);
    match bytes {
        [5] | [4] => Probe::More,
        [5, 0, ..] => Probe::No,
        [5, count, rest @ ..] => match rest.get(usize::from(*count)..) {
            // a hasty client sends its request (which begins with the version again) at once
            Some([] | [5, ..]) => SOCKS,
            Some(_) => Probe::No,
            None => Probe::More,
        },
        [4, 1 | 2, _, _, _, _, _, _, user @ ..] if user.last() == Some(&0) => SOCKS,
        [4, 1 | 2, ..] if bytes.len() < MAX_PROBE => Probe::More,
        _ => Probe::No,
    }
}

impl Socks {
    /// Feeds bytes of one side; `via` takes the target, as `host:port`.
    pub(super) fn feed(&mut self, dir: Dir, bytes: &[u8], via: &mut Option<Bytes>) -> Next {
        let side = match dir {
            Dir::ToServer => &mut self.client,
            Dir::ToClient => &mut self.server,
        };
        if side.len().saturating_add(bytes.len()) > MAX {
            return Next::Nothing;
        }
        side.extend_from_slice(bytes);
        let (mut client, mut server) = (Reader::new(&self.client), Reader::new(&self.server));
        let target = match client.u8() {
            Some(5) => socks5(&mut client, &mut server),
            Some(4) => socks4(&mut client, &mut server),
            _ => Err(Stop::Over),
        };
        match target {
            Ok(target) => {
                *via = Some(target);
                Next::Inner { client: client.rest().to_vec(), server: server.rest().to_vec() }
            }
            Err(Stop::More) => Next::Stay,
            Err(Stop::Over) => Next::Nothing,
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.client.capacity().saturating_add(self.server.capacity())
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        wipe(&mut self.client);
        wipe(&mut self.server);
    }
}

/// Why no target is known.
enum Stop {
    More,
    Over,
}

fn socks5(client: &mut Reader<'_>, server: &mut Reader<'_>) -> Result<Bytes, Stop> {
    let methods = client.u8().ok_or(Stop::More)?;
    client.skip(usize::from(methods)).ok_or(Stop::More)?;
    let [version, method] = server.array().ok_or(Stop::More)?;
    match (version, method) {
        (5, 0) => {}
        (5, 2) => password(client, server)?,
        _ => return Err(Stop::Over),
    }
    let [version, command, _, kind] = client.array().ok_or(Stop::More)?;
    if version != 5 || command != 1 {
        return Err(Stop::Over);
    }
    let host = address(client, kind)?;
    let port = client.u16().ok_or(Stop::More)?;
    let [version, reply, _, kind] = server.array().ok_or(Stop::More)?;
    if version != 5 || reply != 0 {
        return Err(Stop::Over);
    }
    address(server, kind)?;
    server.skip(2).ok_or(Stop::More)?;
    Ok(via(&host, port))
}

/// User name and password (RFC 1929).
fn password(client: &mut Reader<'_>, server: &mut Reader<'_>) -> Result<(), Stop> {
    client.skip(1).ok_or(Stop::More)?;
    for _ in ["user", "password"] {
        let len = client.u8().ok_or(Stop::More)?;
        client.skip(usize::from(len)).ok_or(Stop::More)?;
    }
    match server.array().ok_or(Stop::More)? {
        [_, 0] => Ok(()),
        [_, _] => Err(Stop::Over),
    }
}

fn address(side: &mut Reader<'_>, kind: u8) -> Result<Vec<u8>, Stop> {
    match kind {
        1 => side.array::<4>().map(|ip| Ipv4Addr::from(ip).to_string().into_bytes()).ok_or(Stop::More),
        3 => {
            let len = side.u8().ok_or(Stop::More)?;
            side.take(usize::from(len)).map(<[u8]>::to_vec).ok_or(Stop::More)
        }
        4 => side.array::<16>().map(|ip| format!("[{}]", Ipv6Addr::from(ip)).into_bytes()).ok_or(Stop::More),
        _ => Err(Stop::Over),
    }
}

fn socks4(client: &mut Reader<'_>, server: &mut Reader<'_>) -> Result<Bytes, Stop> {
    let command = client.u8().ok_or(Stop::More)?;
    let port = client.u16().ok_or(Stop::More)?;
    let ip = client.array::<4>().ok_or(Stop::More)?;
    text(client)?;
    // 4a: an impossible address means that a name follows
    let host = match ip {
        [0, 0, 0, last] if last != 0 => text(client)?.to_vec(),
        ip => Ipv4Addr::from(ip).to_string().into_bytes(),
    };
    if command != 1 {
        return Err(Stop::Over);
    }
    let [version, reply, ..] = server.array::<8>().ok_or(Stop::More)?;
    if version == 0 && reply == 90 { Ok(via(&host, port)) } else { Err(Stop::Over) }
}

/// A text that ends in NUL.
fn text<'b>(side: &mut Reader<'b>) -> Result<&'b [u8], Stop> {
    let len = memchr::memchr(0, side.rest()).ok_or(Stop::More)?;
    let text = side.take(len).ok_or(Stop::More)?;
    side.skip(1).ok_or(Stop::More)?;
    Ok(text)
}

fn via(host: &[u8], port: u16) -> Bytes {
    [host, b":", port.to_string().as_bytes()].concat().into()
}
