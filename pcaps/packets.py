"""Packets and captures of them, for the scripts that write captures by hand (`*/make.py`, `tests/variations`)."""
import ipaddress
import re
import struct

SYN, ACK, PSH, FIN = 2, 16, 8, 1


def address(text):
    return ipaddress.ip_address(text).packed


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source, destination, protocol, payload, ttl=64):
    """A packet of IPv4 or IPv6, as the addresses are."""
    source, destination = address(source), address(destination)
    if len(source) == 16:
        return struct.pack(">IHBB", 0x60000000, len(payload), protocol, ttl) + source + destination + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, ttl, protocol, 0) + source + destination
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def tcp(source, destination, sport, dport, seq, ack, flags, payload=b"", ttl=64):
    segment = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 64240, 0, 0) + payload
    here, there = address(source), address(destination)
    pseudo = here + there + struct.pack(">II", len(segment), 6)  # of IPv4 the same sum
    segment = segment[:16] + struct.pack(">H", checksum(pseudo + segment)) + segment[18:]
    return ip(source, destination, 6, segment, ttl)


def udp(source, destination, sport, dport, payload):
    """Without checksum."""
    return ip(source, destination, 17, struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload)


def ethernet(packet, ethertype=None):
    kind = ethertype or (0x86DD if packet[0] >> 4 == 6 else 0x0800)
    return bytes.fromhex("020000000002020000000001") + struct.pack(">H", kind) + packet


def pcap(records):
    """A capture of (seconds, frame)."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
    for time, frame in records:
        seconds = int(time)
        out += struct.pack("<IIII", seconds, round((time - seconds) * 1e6), len(frame), len(frame)), frame
    return b"".join(out)


def describe(folder, text):
    """Write a case's README; which rules fire and which must not, and why, people wrote below: that is kept."""
    readme = folder / "README.md"
    kept = re.search(r"\n\n(Fires|Must not fire):\n.*", readme.read_text(), re.DOTALL) if readme.exists() else None
    readme.write_text(text.rstrip("\n") + (kept.group(0) if kept else "\n"))
