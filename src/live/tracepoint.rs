//! The kernel's tracepoint `sock:inet_sock_set_state`: where it is, and what it says.
//!
//! In: tracefs, which only root can read and which may not be mounted; raw samples. Out: [`Transition`]s. Field offsets
//! are read from the tracepoint's format file, as they differ between kernels.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::conn::Endpoint;

/// A TCP socket changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    /// Address of the socket in the kernel: tells sockets apart while they live.
    pub(super) socket: u64,
    pub(super) old: u32,
    pub(super) new: u32,
    /// Our end; the port is 0 until one is chosen.
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
}

/// TCP states as the kernel numbers them.
pub(super) const SYN_SENT: u32 = 2;

/// The tracepoint's id and where its fields are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tracepoint {
    pub(super) id: u64,
    fields: [Field; 11],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Field {
    offset: usize,
    size: usize,
}

/// In the order of [`Tracepoint::fields`].
const NAMES: [&str; 11] = [
    "skaddr", "oldstate", "newstate", "sport", "dport", "family", "protocol", "saddr", "daddr", "saddr_v6", "daddr_v6",
];

impl Tracepoint {
    /// Places where tracefs may be mounted.
    const PLACES: [&str; 2] = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];

    /// Only what begins or ends a connection attempt of ours wakes us: other transitions of a busy host are left out in
    /// the kernel.
    pub(super) const FILTER: &std::ffi::CStr = c"protocol == 6 && (oldstate == 2 || newstate == 2)";

    /// Reads it from the tracefs below `root`.
    ///
    /// # Errors
    /// When tracefs is not mounted there, cannot be read, or has no such tracepoint.
    pub(super) fn find(root: &Path) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in Self::PLACES {
            let folder = root.join(place).join("events/sock/inet_sock_set_state");
            match std::fs::read_to_string(folder.join("format")) {
                Ok(format) => {
                    return Self::parse(&format).ok_or_else(|| io::Error::other("format of the tracepoint is unknown"));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Lines such as `field:__u16 sport; offset:24; size:2; signed:0;`, with tabs between, and `ID: 1489`.
    fn parse(format: &str) -> Option<Self> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let mut id = None;
        let mut fields = [Field::default(); 11];
        for line in format.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("ID:") {
                id = number(text);
            }
            let Some(declaration) = line.strip_prefix("field:") else { continue };
            let mut parts = declaration.split(';').map(str::trim);
            let name = parts.next()?.rsplit([' ', '*']).next()?.split('[').next()?;
            let Some(slot) = NAMES.iter().position(|known| *known == name) else { continue };
            let offset = number(parts.next()?.strip_prefix("offset:")?)? as usize;
            let size = number(parts.next()?.strip_prefix("size:")?)? as usize;
            *fields.get_mut(slot)? = Field { offset, size };
        }
        fields.iter().all(|field| field.size > 0).then_some(Self { id: id?, fields })
    }

    /// What a sample says; `None` where it is no TCP over IP.
    pub(super) fn transition(&self, raw: &[u8]) -> Option<Transition> {
        let [socket, old, new, sport, dport, family, protocol, saddr, daddr, saddr_v6, daddr_v6] = self.fields;
        let number = |field: Field| {
            let bytes = raw.get(field.offset..field.offset + field.size)?;
            let mut wide = [0; 8];
            let place = if cfg!(target_endian = "little") { 0 } else { 8_usize.checked_sub(bytes.len())? };
            wide.get_mut(place..place + bytes.len())?.copy_from_slice(bytes);
            Some(u64::from_ne_bytes(wide))
        };
        let bytes = |field: Field| raw.get(field.offset..field.offset + field.size);
        let v4 = |field| bytes(field)?.first_chunk::<4>().map(|b| IpAddr::V4(Ipv4Addr::from(*b)));
        // A socket for both versions that is connected over IPv4 has mapped addresses.
        let v6 = |field| bytes(field)?.first_chunk::<16>().map(|b| IpAddr::V6(Ipv6Addr::from(*b)).to_canonical());
        let (local, remote) = match number(family)? as i32 {
            libc::AF_INET => (v4(saddr)?, v4(daddr)?),
            libc::AF_INET6 => (v6(saddr_v6)?, v6(daddr_v6)?),
            _ => return None,
        };
        (number(protocol)? == 6).then_some(())?;
        Some(Transition {
            socket: number(socket)?,
            old: u32::try_from(number(old)?).ok()?,
            new: u32::try_from(number(new)?).ok()?,
            local: Endpoint { ip: local, port: u16::try_from(number(sport)?).ok()? },
            remote: Endpoint { ip: remote, port: u16::try_from(number(dport)?).ok()? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 prints it.
    const FORMAT: &str = "name: inet_sock_set_state
ID: 1622
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:int oldstate;\toffset:16;\tsize:4;\tsigned:1;
\tfield:int newstate;\toffset:20;\tsize:4;\tsigned:1;
\tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;
\tfield:__u16 dport;\toffset:26;\tsize:2;\tsigned:0;
\tfield:__u16 family;\toffset:28;\tsize:2;\tsigned:0;
\tfield:__u16 protocol;\toffset:30;\tsize:2;\tsigned:0;
\tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;
\tfield:__u8 daddr[4];\toffset:36;\tsize:4;\tsigned:0;
\tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;
\tfield:__u8 daddr_v6[16];\toffset:56;\tsize:16;\tsigned:0;

print fmt: \"family=%s\"
";

    fn raw(family: u16, protocol: u16, v6: [&str; 2]) -> Vec<u8> {
        let mut raw = vec![0; 8];
        raw.extend(0xffff_8881_0000_1000_u64.to_ne_bytes());
        raw.extend([7u32, SYN_SENT].map(u32::to_ne_bytes).concat());
        raw.extend([0u16, 80, family, protocol].map(u16::to_ne_bytes).concat());
        raw.extend([10, 0, 0, 5, 169, 254, 169, 254]);
        for text in v6 {
            raw.extend(text.parse::<Ipv6Addr>().unwrap().octets());
        }
        raw
    }

    #[test]
    fn fields_are_where_the_format_says() {
        let tracepoint = Tracepoint::parse(FORMAT).unwrap();
        assert_eq!(tracepoint.id, 1622);
        let v4 = tracepoint.transition(&raw(2, 6, ["::", "::"])).unwrap();
        assert_eq!((v4.old, v4.new, v4.socket), (7, SYN_SENT, 0xffff_8881_0000_1000));
        assert_eq!((v4.local.ip, v4.remote.ip), ([10, 0, 0, 5].into(), [169, 254, 169, 254].into()));
        assert_eq!((v4.local.port, v4.remote.port), (0, 80));
        let v6 = tracepoint.transition(&raw(10, 6, ["fd00::1", "fd00:ec2::254"])).unwrap();
        assert_eq!(v6.remote.ip, "fd00:ec2::254".parse::<IpAddr>().unwrap());
        let mapped = tracepoint.transition(&raw(10, 6, ["::ffff:10.0.0.5", "::ffff:169.254.169.254"])).unwrap();
        assert_eq!(mapped.remote, v4.remote);
        assert_eq!(tracepoint.transition(&raw(2, 132, ["::", "::"])), None, "SCTP");
        assert_eq!(tracepoint.transition(&raw(2, 6, ["::", "::"])[..38]), None, "cut short");
    }

    #[test]
    fn a_format_that_lacks_a_field_is_refused() {
        assert_eq!(Tracepoint::parse(&FORMAT.replace("daddr_v6", "other")), None);
        assert_eq!(Tracepoint::parse(&FORMAT.replace("ID:", "Id:")), None);
    }
}
