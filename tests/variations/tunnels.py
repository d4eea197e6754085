"""The fetch of a credential inside tunnels: each has to be `imds-credential-issued`."""
import struct

from wire import *

A, B = "192.0.2.1", "192.0.2.2"


def eth(packet):
    return ethernet(packet)


def vlan(frame, *tags):
    return frame[:12] + b"".join(struct.pack(">HH", 0x8100, tag) for tag in tags) + frame[12:]


def outer(port, make, source=A, destination=B, sport=4660):
    return lambda packet: ethernet(udp(source, destination, sport, port, make(packet)))


def over_ip(protocol, make, source=A, destination=B):
    return lambda packet: ethernet(ip(source, destination, protocol, make(packet)))


def mpls(packet, *labels):
    labels = labels or (100,)
    return b"".join(struct.pack(">I", label << 12 | (i == len(labels) - 1) << 8 | 64) for i, label in enumerate(labels)) + packet


def nsh(packet, next_protocol, md=1, metadata=b"\0" * 16):
    words = 2 + len(metadata) // 4
    first = 63 << 6 | words   # version 0, TTL 63, length
    return struct.pack(">HBB", first, md, next_protocol) + b"\0\0\x2a\xff" + metadata + packet


def tzsp(frame, tags=b"\x01", kind=0, protocol=1):
    return bytes([1, kind]) + struct.pack(">H", protocol) + tags + frame


def l2tp3(frame, cookie=b"", sublayer=b""):
    return struct.pack(">I", 77) + cookie + sublayer + frame


V6 = ("2001:db8::1", "2001:db8::2")
WRAPS = {
    "mplsoudp-1": outer(6635, lambda p: mpls(p)), "mplsoudp-2": outer(6635, lambda p: mpls(p, 16, 17)), "mplsoudp-3": outer(6635, lambda p: mpls(p, 16, 17, 300000)), "mplsoudp-v6": outer(6635, lambda p: mpls(p), *V6), "mplsoudp-pw": outer(6635, lambda p: mpls(b"\0\0\0\0" + eth(p), 16)), "mplsoudp-pw-noword": outer(6635, lambda p: mpls(eth(p), 16)),
    "gue-0": outer(6080, lambda p: b"\0\x04\0\0" + p), "gue-0-options": outer(6080, lambda p: b"\x02\x04\0\0" + b"\0" * 8 + p), "gue-1": outer(6080, lambda p: p), "gue-v6": outer(6080, lambda p: b"\0\x04\0\0" + p, *V6),
    "fou-5555": outer(5555, lambda p: p), "fou-6081": None, "fou-7777": outer(7777, lambda p: p), "fou-gre": outer(5556, lambda p: b"\0\0\x08\0" + p), "fou-gre-eth": outer(5556, lambda p: b"\0\0\x65\x58" + eth(p)),
    "tzsp": outer(37008, lambda p: tzsp(eth(p))), "tzsp-tags": outer(37008, lambda p: tzsp(eth(p), b"\x0a\1\x20\x0b\1\x05\0\0\x01")), "tzsp-type1": outer(37008, lambda p: tzsp(eth(p), kind=1)), "tzsp-4739": outer(4739, lambda p: tzsp(eth(p), b"\x12\2\1\1\x01")),
    "l2tpv3-ip": over_ip(115, lambda p: l2tp3(eth(p))), "l2tpv3-ip-cookie4": over_ip(115, lambda p: l2tp3(eth(p), b"abcd")), "l2tpv3-ip-cookie8": over_ip(115, lambda p: l2tp3(eth(p), b"abcdefgh")), "l2tpv3-ip-sublayer": over_ip(115, lambda p: l2tp3(eth(p), b"", b"\x40\0\0\1")), "l2tpv3-ip-both": over_ip(115, lambda p: l2tp3(eth(p), b"abcdefgh", b"\x40\0\0\1")), "l2tpv3-vlan": over_ip(115, lambda p: l2tp3(vlan(eth(p), 7))),
    "l2tpv3-udp": outer(1701, lambda p: b"\0\3\0\0" + l2tp3(eth(p))), "l2tpv3-udp-cookie": outer(1701, lambda p: b"\0\3\0\0" + l2tp3(eth(p), b"abcdefgh"), sport=1701), "l2tpv3-udp-sublayer": outer(5000, lambda p: b"\0\3\0\0" + l2tp3(eth(p), b"abcd", b"\x40\0\0\1"), sport=1701), "l2tpv3-ppp": over_ip(115, lambda p: l2tp3(b"\xff\3\0\x21" + p)),
    "l2tpv2-ppp": outer(1701, lambda p: b"\x40\x02" + struct.pack(">HHH", len(p) + 12, 9, 1) + b"\xff\3\0\x21" + p, sport=1701), "l2tpv2-nolength": outer(1701, lambda p: b"\0\x02" + struct.pack(">HH", 9, 1) + b"\xff\3\0\x21" + p), "l2tpv2-short": outer(1701, lambda p: b"\0\x02" + struct.pack(">HH", 9, 1) + b"\0\x21" + p), "l2tpv2-sequence": outer(1701, lambda p: b"\x08\x02" + struct.pack(">HHHH", 9, 1, 5, 4) + b"\x21" + p), "l2tpv2-offset": outer(1701, lambda p: b"\x42\x02" + struct.pack(">HHHH", len(p) + 18, 9, 1, 4) + b"\0" * 4 + b"\xff\3\0\x21" + p),
    "nsh-gpe-ip": outer(4790, lambda p: b"\x0c\0\0\4\0\0\x2a\0" + nsh(p, 1)), "nsh-gpe-eth": outer(4790, lambda p: b"\x0c\0\0\4\0\0\x2a\0" + nsh(eth(p), 3)), "nsh-gpe-md2": outer(4790, lambda p: b"\x0c\0\0\4\0\0\x2a\0" + nsh(p, 1, 2, b"")), "nsh-gpe-md2-long": outer(4790, lambda p: b"\x0c\0\0\4\0\0\x2a\0" + nsh(eth(p), 3, 2, b"\0\1\0\4abcd")), "nsh-gpe-twice": outer(4790, lambda p: b"\x0c\0\0\4\0\0\x2a\0" + nsh(nsh(p, 1), 4)), "nsh-gpe-mpls": outer(4790, lambda p: b"\x0c\0\0\4\0\0\x2a\0" + nsh(mpls(p), 5)),
    "nsh-eth": lambda p: ethernet(nsh(p, 1), 0x894F), "nsh-eth-eth": lambda p: ethernet(nsh(eth(p), 3), 0x894F), "nsh-gre": over_ip(47, lambda p: b"\0\0\x89\x4f" + nsh(p, 1)), "nsh-geneve": outer(6081, lambda p: b"\0\0\x89\x4f\0\0\1\0" + nsh(p, 1)),
    "gpe-ip": outer(4790, lambda p: b"\x0c\0\0\1\0\0\x2a\0" + p), "gpe-eth": outer(4790, lambda p: b"\x0c\0\0\3\0\0\x2a\0" + eth(p)), "gpe-mpls": outer(4790, lambda p: b"\x0c\0\0\5\0\0\x2a\0" + mpls(p)), "vxlan": outer(4789, lambda p: b"\x08\0\0\0\0\0\x2a\0" + eth(p)), "vxlan-8472": outer(8472, lambda p: b"\x08\0\0\0\0\0\x2a\0" + eth(p)), "vxlan-vlan": outer(4789, lambda p: b"\x08\0\0\0\0\0\x2a\0" + vlan(eth(p), 5)), "vxlan-250": outer(250, lambda p: b"\x08\0\0\0\0\0\x2a\0" + eth(p)),
    "lisp": outer(4341, lambda p: b"\xc0\0\0\1\0\0\0\1" + p), "lisp-instance": outer(4341, lambda p: b"\x88\0\0\0\0\0\1\1" + p), "lisp-gpe-eth": outer(4341, lambda p: b"\x84\0\0\3\0\0\1\1" + eth(p)), "lisp-8472-l2": outer(8472, lambda p: b"\x80\0\0\1\0\0\1\1" + eth(p)),
    "teredo": None, "geneve": outer(6081, lambda p: b"\0\0\x65\x58\0\0\1\0" + eth(p)), "geneve-ip": outer(6081, lambda p: b"\0\0\x08\0\0\0\1\0" + p), "geneve-options": outer(6081, lambda p: b"\x02\0\x65\x58\0\0\1\0" + b"\1\2\3\1abcd" + eth(p)), "gtpu": outer(2152, lambda p: b"\x30\xff" + struct.pack(">HI", len(p), 9) + p), "gtpu-ext": outer(2152, lambda p: b"\x34\xff" + struct.pack(">HI", len(p) + 8, 9) + b"\0\0\0\x85\1\x10\1\0" + p),
    "gre": over_ip(47, lambda p: b"\0\0\x08\0" + p), "nvgre": over_ip(47, lambda p: b"\x20\0\x65\x58\0\0\1\0" + eth(p)), "gre-mpls": over_ip(47, lambda p: b"\0\0\x88\x47" + mpls(p)), "erspan2": over_ip(47, lambda p: b"\x10\0\x88\xbe\0\0\0\1" + b"\x10\1\0\1\0\0\0\1" + eth(p)), "ipip": over_ip(4, lambda p: p), "ip-in-v6": over_ip(4, lambda p: p, *V6), "etherip": over_ip(97, lambda p: b"\x30\0" + eth(p)), "ah": over_ip(51, lambda p: b"\x04\4\0\0" + b"\0" * 20 + p), "mpls-in-ip": over_ip(137, lambda p: mpls(p)), "esp-null": over_ip(50, lambda p: b"\0\0\0\1\0\0\0\1" + p + b"\1\2\2\4" + b"\0" * 12), "esp-null-udp": None,
    "qinq": lambda p: vlan(eth(p), 5, 6), "vlan-88a8": lambda p: eth(p)[:12] + b"\x88\xa8\0\x05\x81\0\0\x06" + eth(p)[12:], "mpls-eth": lambda p: ethernet(mpls(p, 16, 17), 0x8847), "mpls-pw": lambda p: ethernet(mpls(b"\0\0\0\0" + eth(p), 16), 0x8847), "pppoe": lambda p: ethernet(b"\x11\0\0\1" + struct.pack(">H", len(p) + 2) + b"\0\x21" + p, 0x8864), "pbb": lambda p: ethernet(b"\0\0\0\1" + eth(p), 0x88E7), "trill": lambda p: ethernet(b"\0\x3f\0\1\0\2" + eth(p), 0x22F3), "fabricpath": None, "macsec-clear": lambda p: ethernet(b"\0\0\0\0\0\1" + struct.pack(">H", 0x0800) + p + b"\0" * 16, 0x88E5), "cisco-metadata": lambda p: eth(p)[:12] + b"\x89\x09\1\1\0\1\0\x10" + eth(p)[12:],
    "capwap": outer(5247, lambda p: b"\0\x10\2\0\0\0\0\0" + eth(p)), "vxlan-in-gue": outer(6080, lambda p: b"\0\x04\0\0" + udp(A, B, 1, 4789, b"\x08\0\0\0\0\0\x2a\0" + eth(p))), "gre-in-mplsoudp": outer(6635, lambda p: mpls(ip(A, B, 47, b"\0\0\x08\0" + p))), "sflow": None, "wireshark-udp": None,
}


def cases():
    for name, wrap in WRAPS.items():
        if wrap:
            def build(capture, wrap=wrap):
                capture.wrap = wrap
                capture.fetch()
            yield f"tunnel-{name}", ("imds-credential-issued", build)

    def teredo(more):
        def build(capture):
            capture.wrap = lambda p: ethernet(udp(A, B, 4000, 3544, more + p))
            request = b"GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\r\nHost: [fd00:ec2::254]\r\nUser-Agent: curl/8\r\n\r\n"
            capture.exchange("2001:0:c000:204::1", "fd00:ec2::254", request, answer(AWS.encode(), "Server: EC2ws\r\n"))
        return "imds-credential-issued", build
    yield "tunnel-teredo-plain", teredo(b"")
    yield "tunnel-teredo-origin", teredo(b"\0\0" + b"\xaa" * 6)
    yield "tunnel-teredo-auth", teredo(b"\0\1\0\0" + b"\1" * 8 + b"\0")
    yield "tunnel-teredo-both", teredo(b"\0\1\0\0" + b"\1" * 8 + b"\0" + b"\0\0" + b"\xaa" * 6)

    def six(wrap):
        def build(capture):
            capture.wrap = wrap
            request = b"GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\r\nHost: [fd00:ec2::254]\r\nUser-Agent: curl/8\r\n\r\n"
            capture.exchange("fd00:20::10", "fd00:ec2::254", request, answer(AWS.encode(), "Server: EC2ws\r\n"))
        return "imds-credential-issued", build
    yield "tunnel-6in4", six(over_ip(41, lambda p: p))
    yield "tunnel-fou-v6", six(outer(5555, lambda p: p))
    yield "tunnel-gue-0-v6", six(outer(6080, lambda p: b"\0\x29\0\0" + p))
    yield "tunnel-gue-1-v6", six(outer(6080, lambda p: p))
    yield "tunnel-gre-v6", six(over_ip(47, lambda p: b"\0\0\x86\xdd" + p))
    yield "tunnel-lisp-v6", six(outer(4341, lambda p: b"\xc0\0\0\1\0\0\0\1" + p))
    yield "tunnel-mplsoudp-v6-inner", six(outer(6635, lambda p: mpls(p)))
    yield "tunnel-nsh-v6", six(outer(4790, lambda p: b"\x0c\0\0\4\0\0\x2a\0" + nsh(p, 2)))

    # IP total length beyond the frame
    def beyond(capture):
        def wrap(packet):
            longer = packet[:2] + struct.pack(">H", len(packet) + 300) + packet[4:10] + b"\0\0" + packet[12:]
            longer = longer[:10] + struct.pack(">H", checksum(longer[:20])) + longer[12:]
            return ethernet(longer if len(packet) > 60 else packet)
        capture.wrap = wrap
        capture.fetch()
    yield "length-beyond", ("imds-credential-issued|imds-credential-request>=high", beyond)

    def one_beyond(which):
        def build(capture):
            seen = [0]
            def wrap(packet):
                seen[0] += len(packet) > 60
                if len(packet) > 60 and seen[0] == which:
                    packet = packet[:2] + struct.pack(">H", len(packet) + 4) + packet[4:10] + b"\0\0" + packet[12:]
                    packet = packet[:10] + struct.pack(">H", checksum(packet[:20])) + packet[12:]
                return ethernet(packet)
            capture.wrap = wrap
            capture.fetch()
        return build
    yield "length-beyond-request", ("imds-credential-issued", one_beyond(1))
    yield "length-beyond-answer", ("imds-credential-issued", one_beyond(2))

    # HTTP/0.9
    for name, line in {"lf": f"GET {PATH}\n", "crlf": f"GET {PATH}\r\n", "blank": f"GET {PATH} \r\n"}.items():
        yield f"http09-{name}", ("imds-credential-issued|imds-credential-request", lambda c, line=line: c.exchange(APP, IMDS, line.encode(), AWS.encode()))
        yield f"http09-{name}-pieces", ("imds-credential-issued|imds-credential-request", lambda c, line=line: c.talk(APP, IMDS, 80, [("c", line[:10].encode()), ("c", line[10:].encode()), ("s", AWS[:100].encode()), ("s", AWS[100:].encode())]))

    # DNS
    def name(text):
        return b"".join(bytes([len(l)]) + l.encode() for l in text.split(".")) + b"\0"

    def lookup(question, records, rtype=1, tcp=False):
        def build(capture):
            q = name(question) + struct.pack(">HH", rtype, 1)
            ask = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + q
            body = b"".join(records)
            reply = struct.pack(">HHHHHH", 7, 0x8180, 1, len(records), 0, 0) + q + body
            if tcp:
                capture.talk(APP, "10.20.0.2", 53, [("c", struct.pack(">H", len(ask)) + ask), ("s", struct.pack(">H", len(reply)) + reply)])
            else:
                capture.datagram(APP, "10.20.0.2", 40001, 53, ask)
                capture.datagram("10.20.0.2", APP, 53, 40001, reply)
        return build

    def a(address_text, owner=b"\xc0\x0c"):
        data = address(address_text)
        return owner + struct.pack(">HHIH", 1 if len(data) == 4 else 28, 1, 60, len(data)) + data

    def cname(target, owner=b"\xc0\x0c"):
        return owner + struct.pack(">HHIH", 5, 1, 60, len(name(target))) + name(target)
    rebind = "dns-rebinding"
    for count in (0, 1, 63, 64, 65, 100, 255):
        many = [a(f"203.0.113.{i % 250}") for i in range(count)]
        yield f"dns-answer-{count}", (rebind, lookup("cdn.evil.example", many + [a(IMDS)]))
        yield f"dns-answer-{count}-tcp", (rebind, lookup("cdn.evil.example", many + [a(IMDS)], tcp=True))
        yield f"dns-answer-{count}-six", (rebind, lookup("cdn.evil.example", [a("2001:db8::%x" % i) for i in range(count)] + [a("fd00:ec2::254")], 28))
    yield "dns-mapped", (rebind, lookup("cdn.evil.example", [a("::ffff:a9fe:a9fe")], 28))
    yield "dns-nat64", (rebind, lookup("cdn.evil.example", [a("64:ff9b::a9fe:a9fe")], 28))
    yield "dns-cname-then-a", (rebind, lookup("cdn.evil.example", [cname("x.evil.example"), a(IMDS, name("x.evil.example"))]))
    yield "dns-cname-gcp", ("dns-rebinding|imds-lookup", lookup("cdn.evil.example", [cname("metadata.google.internal")]))
    yield "dns-cname-chain", ("dns-rebinding|imds-lookup", lookup("cdn.evil.example", [cname("b.evil.example"), cname("metadata.google.internal", name("b.evil.example"))]))
    yield "dns-https-hint", (rebind, lookup("cdn.evil.example", [b"\xc0\x0c" + struct.pack(">HHIH", 65, 1, 60, 3 + 8) + b"\0\1\0" + struct.pack(">HH", 4, 4) + address(IMDS)], 65))
    yield "dns-alibaba", (rebind, lookup("cdn.evil.example", [a("100.100.100.200")]))
