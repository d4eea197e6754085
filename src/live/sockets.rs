//! Looks up one TCP socket of our network namespace (`sock_diag(7)`, NETLINK_INET_DIAG).
//!
//! In: both ends of a connection. Out: the inode of its socket, by which its process can be found. Needs no privilege.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with, sockopt,
};

use crate::conn::Endpoint;

/// A socket that answers questions about sockets.
pub(super) struct Sockets {
    socket: OwnedFd,
}

/// How long an answer may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
/// Length of `nlmsghdr`.
const HEADER: usize = 16;
/// Offset of `idiag_inode` in `inet_diag_msg`.
const INODE: usize = 68;

impl Sockets {
    /// Opens it.
    pub(super) fn open() -> io::Result<Self> {
        let kind = SocketType::DGRAM;
        let socket = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket })
    }

    /// The inode of the socket with these ends; `None` where there is none of ours.
    pub(super) fn inode(&mut self, local: Endpoint, remote: Endpoint) -> Option<u32> {
        // A socket for both versions that is connected over IPv4 is found by its IPv4 addresses too.
        send(&self.socket, &request(local, remote), SendFlags::empty()).ok()?;
        let mut answer = [0; 1024];
        let (read, _) = recv(&self.socket, &mut answer[..], RecvFlags::empty()).ok()?;
        inode(answer.get(..read)?)
    }
}

/// `nlmsghdr` and `inet_diag_req_v2`; ports and addresses in network byte order.
fn request(local: Endpoint, remote: Endpoint) -> Vec<u8> {
    let family = if local.ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut body = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port.to_be_bytes());
    body.extend(remote.port.to_be_bytes());
    for ip in [local.ip, remote.ip] {
        let mut address = [0; 16];
        match ip {
            IpAddr::V4(v4) => address[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => address = v6.octets(),
        }
        body.extend(address);
    }
    // Any interface, no cookie.
    body.extend([0; 4]);
    body.extend([0xff; 8]);
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn inode(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let found = u32::from_ne_bytes(*answer.get(HEADER + INODE..)?.first_chunk()?);
    (kind == SOCK_DIAG_BY_FAMILY && found != 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn endpoint(address: std::net::SocketAddr) -> Endpoint {
        Endpoint { ip: address.ip(), port: address.port() }
    }

    #[test]
    fn both_ends_of_a_connection_on_loopback() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (local, remote) = (endpoint(client.local_addr().unwrap()), endpoint(client.peer_addr().unwrap()));
            let Ok(mut sockets) = Sockets::open() else { return };
            use std::os::fd::AsRawFd;
            let expected = std::fs::metadata(format!("/proc/self/fd/{}", client.as_raw_fd())).unwrap().ino();
            assert_eq!(sockets.inode(local, remote).map(u64::from), Some(expected), "{address}");
            let other = Endpoint { port: 1, ..local };
            assert_eq!(sockets.inode(other, remote), None);
        }
    }
}
