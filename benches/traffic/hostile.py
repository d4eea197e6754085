#!/usr/bin/env python3
"""Writes captures whose bytes are as dear as can be: hostile.py KIND N FILE. Without arguments: the kinds.

The same on every machine. `plain` is ordinary traffic to compare with: requests with a body of text, and answers.
"""
import base64
import gzip
import json
import random
import struct
import sys
import zlib

ETHERNET = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02"
IP4, IP6 = b"\x08\0", b"\x86\xdd"
SYN, ACK, PSH_ACK, SYN_ACK, FIN_ACK = 2, 16, 24, 18, 17
START = 1_790_000_000_000_000  # microseconds
WINDOW = 20_000  # bytes sent before an acknowledgement
KINDS = {}


def kind(function):
    KINDS[function.__name__] = function
    return function


def checksum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address(text):
    return bytes(map(int, text.split(".")))


def numbered(base, i):
    return struct.pack("!I", base + i)


def client(i):
    return numbered(0x0A000001, i)


METADATA, WEB = address("169.254.169.254"), address("10.200.0.1")


def ip(source, destination, protocol, payload, ident=1, fragment=0):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident & 0xFFFF, fragment, 64, protocol, 0)
    head += source + destination
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def tcp(source, destination, sport, dport, seq, ack, flags, payload=b""):
    head = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0)
    pseudo = source + destination + struct.pack("!HH", 6, len(head) + len(payload))
    head = head[:16] + struct.pack("!H", checksum(pseudo + head + payload)) + head[18:]
    return ip(source, destination, 6, head + payload)


def udp(source, destination, sport, dport, payload=b""):
    return ip(source, destination, 17, struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload)


class Capture:
    """A pcap file of Ethernet frames, ten microseconds apart."""

    def __init__(self, path):
        self.file, self.time = open(path, "wb", 1 << 20), START
        self.file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

    def restart(self, head):
        """Another file format instead of pcap."""
        self.file.seek(0)
        self.file.truncate()
        self.file.write(head)

    def frame(self, frame):
        self.time += 10
        record = struct.pack("<IIII", self.time // 1_000_000, self.time % 1_000_000, len(frame), len(frame))
        self.file.write(record + frame)

    def packet(self, packet, ethertype=IP4):
        self.frame(ETHERNET + ethertype + packet)


class Connection:
    """A TCP connection; what is sent is cut into segments."""

    def __init__(self, capture, source, port, server, handshake=True):
        self.capture, self.ends = capture, (source, server, port, 80)
        self.ours, self.theirs, self.unacknowledged = 1001, 5001, 0
        if handshake:
            capture.packet(tcp(source, server, port, 80, 1000, 0, SYN))
            capture.packet(tcp(server, source, 80, port, 5000, 1001, SYN_ACK))
            capture.packet(tcp(source, server, port, 80, 1001, 5001, ACK))

    def packet(self, seq, payload):
        """A segment of the client's at any place."""
        source, server, sport, dport = self.ends
        self.capture.packet(tcp(source, server, sport, dport, seq, self.theirs, PSH_ACK, payload))

    def answer(self, flags, payload=b""):
        source, server, sport, dport = self.ends
        self.capture.packet(tcp(server, source, dport, sport, self.theirs, self.ours, flags, payload))

    def send(self, data, size=1400):
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self.packet(self.ours, piece)
            self.ours += len(piece)
            self.unacknowledged += len(piece)
            if self.unacknowledged > WINDOW:
                self.unacknowledged = 0
                self.answer(ACK)

    def receive(self, data, size=1400):
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self.answer(PSH_ACK, piece)
            self.theirs += len(piece)

    def close(self):
        source, server, sport, dport = self.ends
        self.capture.packet(tcp(source, server, sport, dport, self.ours, self.theirs, FIN_ACK))
        self.capture.packet(tcp(server, source, dport, sport, self.theirs, self.ours + 1, FIN_ACK))


def port(i):
    return 1024 + i % 60000


def response(body, headers=b"", content_type=b"text/plain"):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + content_type + b"\r\n" + headers
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def get(target, host=b"web", headers=b""):
    return b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + headers + b"\r\n"


def credential(i):
    rng = random.Random(i)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    document = {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIA%016X" % rng.getrandbits(64),
        "SecretAccessKey": "".join(rng.choices(letters, k=40)),
        "Token": "IQoJ" + "".join(rng.choices(letters, k=200)),
        "Expiration": "2027-01-01T00:00:00Z",
    }
    return json.dumps(document).encode()


ROLE = b"/latest/meta-data/iam/security-credentials/r"


def exchanges(capture, n, request, answer=response(b"ok"), server=WEB, handshake=False):
    """The same exchange by `n` clients."""
    for i in range(n):
        connection = Connection(capture, client(i), port(i), server, handshake)
        connection.send(request(i) if callable(request) else request)
        connection.receive(answer(i) if callable(answer) else answer)
        if handshake:
            connection.close()


def posts(capture, n, body, content_type=b"application/json", headers=b""):
    head = b"POST /x HTTP/1.1\r\nHost: web\r\nContent-Type: " + content_type + b"\r\n" + headers
    exchanges(capture, n, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def form(capture, n, value, count=7):
    fields = b"&".join(b"p%d=" % i + value for i in range(count))
    posts(capture, n, fields, b"application/x-www-form-urlencoded")


@kind
def plain(capture, n):
    """ordinary text, 58 KB a request"""
    posts(capture, n, b"The quick brown fox jumps over the lazy dog, again and again. " * 940, b"text/plain")


# What the search for targets is dearest on.


@kind
def seg_suffix(capture, n):
    exchanges(capture, n, get(b"/http:" * 1300 + b"//1/x"))


@kind
def seg_suffix2(capture, n):
    exchanges(capture, n, get(b"/http://1" * 6000 + b"/x"))


@kind
def seg_slashes(capture, n):
    exchanges(capture, n, get(b"/" * 50000 + b"x"))


@kind
def seg_metadata(capture, n):
    """a metadata address as every segment"""
    exchanges(capture, n, get(b"/169.254.169.254" * 3500 + b"/latest/user-data"))


@kind
def seg_percent(capture, n):
    exchanges(capture, n, get(b"/%252568ttp%25253a%25252f%25252f1" * 1500))


@kind
def at_signs(capture, n):
    """an authority of thousands of pieces, with a long path"""
    form(capture, n, b"http://x" + b"@1" * 2000 + b"/" + b"a/" * 2000)


@kind
def at_signs_pct(capture, n):
    form(capture, n, b"http://x" + b"@1" * 1300 + b"/" + b"%2525252525252e/" * 340)


@kind
def at_signs_query(capture, n):
    exchanges(capture, n, get(b"/x?u=http://x" + b"@1" * 2000 + b"/" + b"a/" * 2000))


@kind
def percent_nest(capture, n):
    text = b"http://169.254.169.254/"
    for _ in range(6):
        text = b"".join(b"%%%02x" % byte for byte in text)[:8000]
    form(capture, n, text)


@kind
def base64_nest(capture, n):
    text = b"curl http://169.254.169.254/latest/meta-data "
    while len(text) < 6000:
        text = base64.b64encode(text)
    form(capture, n, text, 9)


@kind
def nfkc(capture, n):
    """a character that stands for eighteen"""
    form(capture, n, b"http://" + "\ufdfa".encode() * 2700)


@kind
def look_alikes(capture, n):
    form(capture, n, "\uff48\uff54\uff54\uff50://\u2460\u2465\u2468.".encode() * 400)


@kind
def urls_in_prose(capture, n):
    posts(capture, n, b"http://169.254.169.254/a%20 \n" * 2000, b"text/plain")


@kind
def nested_urls(capture, n):
    """each URL in the query of the one before"""
    form(capture, n, b"http://a.example/?u=" * 400 + b"http://169.254.169.254/x")


@kind
def one_long_run(capture, n):
    """URLs that no blank ends"""
    posts(capture, n, b"x http://1.2.3.4/latest/meta-data" * 1800, b"text/plain")


@kind
def short_hosts(capture, n):
    posts(capture, n, b"//1.1/ " * 8000, b"text/plain")


@kind
def many_headers(capture, n):
    exchanges(capture, n, get(b"/", headers=b"".join(b"X%d: http://1@2/x\r\n" % i for i in range(3000))))


@kind
def json_deep(capture, n):
    posts(capture, n, b"[" * 60000 + b'"http://169.254.169.254/x"')


@kind
def json_keys(capture, n):
    posts(capture, n, b"{" + b",".join(b'"k%d":"//1@2@3/a"' % i for i in range(3000)) + b"}")


@kind
def json_in_json(capture, n):
    text = "http://169.254.169.254/latest/meta-data"
    for _ in range(8):
        text = json.dumps({"a": text})
    posts(capture, n, (text * 40)[:60000].encode())


@kind
def xml_deep(capture, n):
    tags = b"<a b=\"http://1@2@3/\" c='//x'>" * 2000
    posts(capture, n, b'<?xml version="1.0"?>' + tags, b"application/xml")


@kind
def page_tags(capture, n):
    posts(capture, n, b"<img src=//1.1/x>" * 3400, b"text/html")


@kind
def page_in_page(capture, n):
    posts(capture, n, b"<iframe/srcdoc=" * 3900, b"text/html")


@kind
def multipart(capture, n):
    part = b'Content-Disposition: form-data; name="a"\r\n\r\nhttp://169.254.169.254/\r\n--b\r\n'
    posts(capture, n, b"--b\r\n" + part * 700, b"multipart/form-data; boundary=b")


@kind
def gzip_bomb(capture, n):
    body = gzip.compress(b"http://169.254.169.254/a " * 1_000_000, mtime=0)[:60000]
    posts(capture, n, body, b"text/plain", b"Content-Encoding: gzip\r\n")


@kind
def gzip_small_bomb(capture, n):
    """a few hundred bytes that become a quarter of a megabyte"""
    body = gzip.compress(b"http://1/a " * 24_000, mtime=0)
    posts(capture, n, body, b"text/plain", b"Content-Encoding: gzip\r\n")


@kind
def gzip_bomb_imds(capture, n):
    body = gzip.compress(b'{"SecretAccessKey":"' + b"A" * 30_000_000 + b'"}', mtime=0)[:60000]
    exchanges(capture, n, get(ROLE, b"x"), response(body, b"Content-Encoding: gzip\r\n"), METADATA)


@kind
def json_deep_imds(capture, n):
    exchanges(capture, n, get(ROLE, b"x"), response(b'{"a":' * 10000, content_type=b"application/json"), METADATA)


@kind
def chunks1(capture, n):
    connection = Connection(capture, client(1), 1234, WEB)
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(n):
        connection.send(b"1\r\na\r\n")


@kind
def bytes1(capture, n):
    connection = Connection(capture, client(1), 1234, WEB)
    request, sent = get(b"/" + b"a" * 60000, b"x"), 0
    while sent < n:
        connection.send(request[: n - sent], 1)
        sent += len(request)


# What tables and joins are dearest on.


@kind
def udp_flows(capture, n):
    for i in range(n):
        capture.packet(udp(numbered(0x0B000000, i), address("10.1.1.1"), port(i), 9999, b"x" * 20))


@kind
def syn_imds(capture, n):
    for i in range(n):
        capture.packet(tcp(client(i), METADATA, port(i), 80, 1, 0, SYN))


@kind
def http_imds_clients(capture, n):
    request = lambda i: get(b"/latest/meta-data/x%d" % i, b"169.254.169.254", b"User-Agent: curl/%d\r\n" % i)
    exchanges(capture, n, request, server=METADATA)


@kind
def http_imds_one_client(capture, n):
    for i in range(n):
        connection = Connection(capture, client(0), port(i), METADATA)
        connection.send(get(b"/latest/meta-data/x%d" % i, b"169.254.169.254"))
        connection.receive(response(b"ok"))
        connection.close()


@kind
def issuances(capture, n):
    for i in range(n):
        connection = Connection(capture, client(i % 1000), port(i), METADATA)
        connection.send(get(ROLE + b"%d" % i, b"169.254.169.254"))
        connection.receive(response(credential(i)))
        connection.close()


@kind
def tokens_v2(capture, n):
    head = b"X-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0\r\n"
    request = get(b"/latest/api/token", b"169.254.169.254", head).replace(b"GET", b"PUT", 1)
    exchanges(capture, n, request, lambda i: response(b"AQAAA%050d==" % i), METADATA)


@kind
def enumeration(capture, n):
    for i in range(n):
        connection = Connection(capture, client(i % 2000), port(i), METADATA)
        target = b"/latest/meta-data/iam/%d/%d" % (i, i)
        connection.send(get(target, b"169.254.169.254", b"User-Agent: q%d\r\n" % i))
        connection.receive(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        connection.close()


@kind
def pipelined(capture, n):
    connection = Connection(capture, client(1), 1234, METADATA)
    for i in range(n):
        connection.send(get(b"/latest/meta-data/%d" % i, b"x"))


@kind
def pipelined_tight(capture, n):
    connection = Connection(capture, client(1), 1234, WEB)
    for _ in range(n):
        connection.send(get(b"/", b"x") * 50)


def fetches(capture, n, target):
    for i in range(n):
        connection = Connection(capture, WEB, port(i), METADATA)
        connection.send(get(target(i), b"w"))
        connection.receive(response(b"a"))
        connection.close()


def open_requests(capture, n, target):
    for i in range(n):
        Connection(capture, client(i), port(i), WEB, handshake=False).send(get(target(i), b"w"))


@kind
def ssrf_open(capture, n):
    """requests that stay open, each with its own URL, then metadata requests of other paths"""
    open_requests(capture, n, lambda i: b"/f?u=http://169.254.169.254/latest/meta-data/p%d" % i)
    fetches(capture, n, lambda i: b"/latest/meta-data/q%d" % i)


@kind
def ssrf_open_same(capture, n):
    open_requests(capture, n, lambda i: b"/f?u=http://169.254.169.254/latest/meta-data/p")
    fetches(capture, n, lambda i: b"/latest/meta-data/p")


@kind
def ssrf_mentions(capture, n):
    for i in range(n):
        body = b"see http://169.254.169.254/latest/meta-data/p%d for it and more" % i
        head = b"POST /f HTTP/1.1\r\nHost: w\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection = Connection(capture, client(i), port(i), WEB, handshake=False)
        connection.send(head + body)
        connection.receive(response(b"ok"))
    fetches(capture, n, lambda i: b"/latest/meta-data/q%d" % i)


@kind
def ssrf_redirects(capture, n):
    open_requests(capture, n, lambda i: b"/f?u=http://evil%d.example/r" % i)
    for i in range(n):
        location = b"http://169.254.169.254/latest/meta-data/q%d" % i
        connection = Connection(capture, WEB, port(i), address("10.201.0.1"))
        connection.send(get(b"/r", b"evil%d.example" % i))
        connection.receive(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
        connection.close()


def one_issuance(capture):
    connection = Connection(capture, client(1), 1234, METADATA)
    connection.send(get(ROLE, b"x"))
    connection.receive(response(credential(1)))
    connection.close()


@kind
def masked_text(capture, n):
    """one issuance, then long texts in which it is looked for"""
    one_issuance(capture)
    agent = b"User-Agent: " + b"aA1/" * 1500 + b"\r\n"
    exchanges(capture, n, lambda i: get(b"/" + (b"aA1bB2cC3dD4eE5f%d." % i) * 400, headers=agent))


@kind
def masked_b64(capture, n):
    one_issuance(capture)
    text = b"hello world aA1aA1aA1aA1aA1aA1 "
    while len(text) < 20000:
        text = base64.b64encode(text)
    exchanges(capture, n, get(b"/" + text), response(text))


# What reassembly, tunnels, HTTP/2 and DNS are dearest on.


def unfinished(capture, length=b""):
    connection = Connection(capture, client(1), 1234, WEB)
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" if length else b"GET / HTTP/1.1\r\n")
    return connection


@kind
def tcp_holes(capture, n):
    """every second byte, never the others"""
    connection = unfinished(capture)
    for i in range(n):
        connection.packet(connection.ours + 1 + 2 * (i % 30000), b"x")


@kind
def tcp_holes_desc(capture, n):
    connection = unfinished(capture)
    for i in range(n):
        connection.packet(connection.ours + 60000 - 2 * (i % 29999), b"x")


@kind
def tcp_holes_random(capture, n):
    connection, rng = unfinished(capture), random.Random(1)
    for _ in range(n):
        connection.packet(connection.ours + 1 + 2 * rng.randrange(30000), b"x")


@kind
def tcp_holes_filled(capture, n):
    """4,000 pieces, then what is between them, again and again"""
    connection, sent = unfinished(capture, b"long"), 0
    while sent < n:
        count = min(4000, n - sent)
        sent += count
        for j in range(count):
            connection.packet(connection.ours + 2 * j + 1, b"x")
        connection.answer(ACK)
        for j in range(count):
            connection.packet(connection.ours + 2 * j, b"y")
        connection.ours += 2 * count
        connection.answer(ACK)


@kind
def tcp_overlaps(capture, n):
    connection = unfinished(capture, b"long")
    for i in range(n):
        connection.packet(connection.ours + 1 + (i * 7) % 60000, bytes([65 + i % 26]) * 1000)


@kind
def tcp_reread(capture, n):
    """bytes that nobody acknowledged, again with other content"""
    connection = unfinished(capture, b"long")
    for i in range(n):
        connection.packet(connection.ours, bytes([65 + i % 26]) * 1000)
        if i % 60 == 59:
            connection.ours += 1000


@kind
def vxlan_deep(capture, n):
    for i in range(n):
        packet = tcp(client(i), METADATA, 1234, 80, 1, 1, PSH_ACK, b"GET / HTTP/1.1\r\n\r\n")
        for depth in range(25):
            inner = b"\x08\0\0\0\0\0" + bytes([depth, 0]) + ETHERNET + IP4 + packet
            packet = udp(address("10.3.0.1"), address("10.3.0.2"), 4000 + depth, 4789, inner)
        capture.packet(packet)


@kind
def ipip_deep(capture, n):
    for i in range(n):
        packet = tcp(client(i), METADATA, 1234, 80, 1, 1, PSH_ACK, b"GET / HTTP/1.1\r\n\r\n")
        for depth in range(60):
            packet = ip(numbered(0x0A030000, depth), numbered(0x0A040000, depth), 4, packet)
        capture.packet(packet)


@kind
def ip6_ext(capture, n):
    syn = struct.pack("!HHIIBBHHH", 1234, 80, 1, 0, 0x50, SYN, 1000, 0, 0)
    service = bytes.fromhex("fd000ec2000000000000000000000254")
    for i in range(n):
        packet, following = syn, 6
        for _ in range(170):
            packet, following = bytes([following, 0, 1, 4, 0, 0, 0, 0]) + packet, 60
        head = struct.pack("!IHBB", 0x60000000, len(packet), following, 64)
        capture.packet(head + bytes(12) + numbered(0, i) + service + packet, IP6)


@kind
def frags_distinct(capture, n):
    for i in range(n):
        capture.packet(ip(numbered(0x0B000000, i), WEB, 17, b"x" * 1000, i, 0x2000))


@kind
def frags_tiny(capture, n):
    for i in range(n):
        capture.packet(ip(client(1), WEB, 17, b"x" * 8, i // 8000, 0x2000 | (1 + i % 8000)))


@kind
def frags_overlap(capture, n):
    for i in range(n):
        capture.packet(ip(client(1), WEB, 17, bytes([i & 255]) * 1480, i // 5000, 0x2000 | (1 + (i * 7) % 5000)))


@kind
def vlans(capture, n):
    for i in range(n):
        tags = b"\x88\xa8" + struct.pack("!H", i & 0xFFF) + b"\x81\0" + struct.pack("!H", (i >> 12) & 0xFFF)
        capture.frame(ETHERNET + tags + IP4 + udp(client(1), WEB, 1000, 9999, b"x" * 20))


@kind
def ping(capture, n):
    for i in range(n):
        echo = b"\x08\0\0\0" + struct.pack("!HH", i & 0xFFFF, i >> 16) + b"x" * 32
        capture.packet(ip(client(i), WEB, 1, echo))


QUERY = b"\x12\x34\1\0\0\1\0\0\0\0\0\0"
SERVICE_NAME = b"\x08metadata\6google\x08internal\0"


@kind
def dns_names(capture, n):
    for i in range(n):
        name = b"\x0ah%09d\7example\3com\0" % i
        capture.packet(udp(client(i), WEB, port(i), 53, QUERY + name + b"\0\1\0\1"))


@kind
def dns_meta(capture, n):
    for i in range(n):
        capture.packet(udp(client(i), WEB, port(i), 53, QUERY + SERVICE_NAME + b"\0\1\0\1"))


@kind
def dns_rebind(capture, n):
    for i in range(n):
        name = b"\x0ah%09d\7example\3com\0" % i
        answer = b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0" + name + b"\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + METADATA
        capture.packet(udp(client(i % 500), WEB, port(i), 53, QUERY + name + b"\0\1\0\1"))
        capture.packet(udp(WEB, client(i % 500), 53, port(i), answer))


@kind
def dns_chain(capture, n, name=b"\1a\0", length=120):
    """records whose names are long chains of compression pointers, 60 KB a message"""
    message = b"\x12\x34\x81\x80\0\1\x10\0\0\0\0\0" + name + b"\0\1\0\1"
    chain, last, start = b"", 12, len(message) + 12
    for _ in range(length):
        here = start + len(chain)
        chain += b"\1b" + struct.pack("!H", 0xC000 | last)
        last = here
    message += b"\xc0\x0c" + struct.pack("!HHIH", 10, 1, 60, len(chain)) + chain
    pointer = struct.pack("!H", 0xC000 | last)
    record = pointer + struct.pack("!HHIH", 5, 1, 60, 2) + pointer
    message += record * ((60000 - len(message)) // len(record) + 1)
    for i in range(n):
        datagram = struct.pack("!HHHHH", 53, port(i), 8 + len(message), 0, i & 0xFFFF) + message[2:]
        for at in range(0, len(datagram), 1480):
            more = 0x2000 if at + 1480 < len(datagram) else 0
            capture.packet(ip(WEB, client(i // 60000), 17, datagram[at : at + 1480], i, at // 8 | more))


@kind
def dns_chain_meta(capture, n):
    dns_chain(capture, n, SERVICE_NAME, 105)


def h2_frame(frame_type, flags, stream, payload):
    return struct.pack("!I", len(payload))[1:] + bytes([frame_type, flags]) + struct.pack("!I", stream) + payload


HEADERS, RESET, SETTINGS, CONTINUATION = 1, 3, 4, 9
H2_REQUEST = b"\x82\x86\x84\x41\x03web"


def h2(capture):
    connection = Connection(capture, client(1), 1234, WEB)
    connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(SETTINGS, 0, 0, b""))
    connection.receive(h2_frame(SETTINGS, 0, 0, b""))
    return connection


def h2_literal(value):
    """A field that enters the header table."""
    rest = len(value) - 127
    return b"\x40\x01a\x7f" + bytes([(rest & 127) | 128, rest >> 7]) + value


@kind
def h2_streams(capture, n):
    connection = h2(capture)
    for i in range(n):
        connection.send(h2_frame(HEADERS, 5, 2 * i + 1, H2_REQUEST))


@kind
def h2_hpack_bomb(capture, n):
    """one field of 3,900 bytes, then blocks of references to it, a byte each"""
    connection = h2(capture)
    connection.send(h2_frame(HEADERS, 5, 1, H2_REQUEST + h2_literal(b"http://1@2/" + b"a/" * 1900)))
    for i in range(n):
        connection.send(h2_frame(HEADERS, 5, 2 * i + 3, b"\x82\x86\x84" + b"\xbe" * 60))


@kind
def h2_hpack_over(capture, n):
    """one header list that is too long, then ordinary requests"""
    connection = h2(capture)
    connection.send(h2_frame(HEADERS, 5, 1, H2_REQUEST + h2_literal(b"a/" * 1900)))
    connection.send(h2_frame(HEADERS, 5, 3, b"\x82\x86\x84" + b"\xbe" * 1200))
    for i in range(n):
        connection.send(h2_frame(HEADERS, 5, 2 * i + 5, b"\x82\x86\x84\xbf"))


@kind
def h2_continuation(capture, n):
    connection = h2(capture)
    connection.send(h2_frame(HEADERS, 1, 1, H2_REQUEST))
    for _ in range(n):
        connection.send(h2_frame(CONTINUATION, 0, 1, b"\x82"))


@kind
def h2_resets(capture, n):
    connection = h2(capture)
    for i in range(n):
        stream = 2 * i + 1
        connection.send(h2_frame(HEADERS, 5, stream, H2_REQUEST) + h2_frame(RESET, 0, stream, b"\0\0\0\x08"))


# What tables, decoders and tunnels are dearest on, many at a time.


@kind
def cookies(capture, n):
    """a field of four thousand cookies"""
    value = b"; ".join(b"c%d=http://1.1/" % i for i in range(3000))
    exchanges(capture, n, get(b"/", headers=b"Cookie: " + value + b"\r\n"))


@kind
def cookie_fields(capture, n):
    exchanges(capture, n, get(b"/", headers=b"Cookie: a=//1/\r\n" * 3000))


@kind
def tokens_in_header(capture, n):
    """web tokens, each of which may name its keys"""
    token = base64.urlsafe_b64encode(b'{"alg":"RS256","jku":"http://169.254.169.254/latest/meta-data/x"}').rstrip(b"=")
    exchanges(capture, n, get(b"/", headers=b"Authorization: Bearer " + (token + b".e30.c2ln ") * 500 + b"\r\n"))


@kind
def multipart_parts(capture, n):
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n//1.1/x\r\n'
    posts(capture, n, part * 850, b"multipart/form-data; boundary=b")


@kind
def multipart_base64(capture, n):
    head = b'--b\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    posts(capture, n, (head + base64.b64encode(b"http://1.1/x http://2/") + b"\r\n") * 450, b"multipart/form-data; boundary=b")


@kind
def zip_entries(capture, n):
    """an archive of a thousand files"""
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(600):
            archive.writestr("f%d" % i, b"<a href='http://1.1/'/>" * 40)
    posts(capture, n, file.getvalue()[:60000], b"application/zip")


@kind
def gzip_members(capture, n):
    """thousands of members in one body"""
    member = gzip.compress(b"http://1/a ", mtime=0)
    posts(capture, n, member * (58000 // len(member)), b"text/plain", b"Content-Encoding: gzip\r\n")


@kind
def gzip_twice(capture, n):
    body = gzip.compress(gzip.compress(b"http://1/a " * 2_000_000, mtime=0), mtime=0)[:60000]
    posts(capture, n, body, b"text/plain", b"Content-Encoding: gzip, gzip\r\n")


@kind
def zstd_window(capture, n):
    """a frame that asks for a window of 128 MB, with blocks of one byte each repeated"""
    block = struct.pack("<I", 131072 << 3 | 1 << 1)[:3] + b"/"
    body = b"\x28\xb5\x2f\xfd\x00\x88" + block * 2000
    posts(capture, n, body, b"text/plain", b"Content-Encoding: zstd\r\n")


@kind
def zstd_blocks(capture, n):
    """the same in a window that is allowed"""
    block = struct.pack("<I", 131072 << 3 | 1 << 1)[:3] + b"/"
    body = b"\x28\xb5\x2f\xfd\x00\x58" + block * 14
    posts(capture, n, body, b"text/plain", b"Content-Encoding: zstd\r\n")


@kind
def wide_text(capture, n):
    """UTF-16"""
    posts(capture, n, ("http://1.1/x " * 2200).encode("utf-16"), b"text/plain")


@kind
def entities(capture, n):
    posts(capture, n, b"&#104;&#116;&#116;p&#58;&#47;&#47;1&#47; " * 1300, b"text/html")


@kind
def backslashes(capture, n):
    posts(capture, n, b'{"a":"' + b"\\u0068ttp:\\/\\/1.1\\/ " * 2400 + b'"}')


@kind
def colons(capture, n):
    """hosts that may be addresses of the sixth version"""
    form(capture, n, b"//[" + b"::1:" * 1900 + b"]/")


@kind
def dots(capture, n):
    form(capture, n, b"http://" + b"1.2-3." * 1300 + b"/")


@kind
def hex_runs(capture, n):
    one_issuance(capture)
    posts(capture, n, b"2f2f312e312f" * 4900, b"text/plain")


@kind
def base32_runs(capture, n):
    one_issuance(capture)
    posts(capture, n, b"F4XTCLRRF5QWCYLB" * 3700, b"text/plain")


@kind
def labels(capture, n):
    one_issuance(capture)
    posts(capture, n, b"aA1.bB2." * 7300, b"text/plain")


@kind
def ssrf_names(capture, n):
    """requests that name a host each, and lookups of other hosts that lead to a metadata service"""
    for i in range(n):
        query = b"&".join(b"u%d=http://n%d-%d.example/" % (j, i, j) for j in range(20))
        connection = Connection(capture, client(i), port(i), WEB, handshake=False)
        connection.send(get(b"/f?" + query, b"w"))
        connection.receive(response(b"ok"))
    dns_rebind(capture, n)


@kind
def ssrf_hops(capture, n):
    """one URL passed on from server to server"""
    for i in range(n):
        connection = Connection(capture, numbered(0x0A050000, i), port(i), numbered(0x0A050001, i), handshake=False)
        connection.send(get(b"/f?u=http://169.254.169.254/latest/meta-data/p", b"w"))


@kind
def ssrf_others(capture, n):
    """open requests to many servers, and the same path fetched by one of them again and again"""
    for i in range(n):
        connection = Connection(capture, client(i), port(i), numbered(0x0A060000, i), handshake=False)
        connection.send(get(b"/f?u=http://169.254.169.254/latest/meta-data/p", b"w"))
    for i in range(n):
        connection = Connection(capture, numbered(0x0A060000, 1 + i % 3), port(i), METADATA)
        connection.send(get(b"/latest/meta-data/p", b"w"))
        connection.receive(response(b"a"))
        connection.close()


@kind
def redirect_loops(capture, n):
    """every answer sends its client to all others"""
    open_requests(capture, n, lambda i: b"/f?u=http://evil%d.example/r" % (i % 7))
    for i in range(n):
        connection = Connection(capture, WEB, port(i), address("10.201.0.1"))
        connection.send(get(b"/r", b"evil%d.example" % (i % 7)))
        location = b"http://evil%d.example/r" % (i * 3 % 7)
        connection.receive(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
        connection.close()


@kind
def half_open(capture, n):
    """requests without an end, a kilobyte each"""
    for i in range(n):
        connection = Connection(capture, client(i), port(i), WEB, handshake=False)
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + b"a" * 1000)


@kind
def half_heads(capture, n):
    for i in range(n):
        connection = Connection(capture, client(i), port(i), WEB, handshake=False)
        connection.send(b"GET / HTTP/1.1\r\nHost: " + b"x" * 1000)


@kind
def holes_many(capture, n):
    """many connections, each with a hole and forty bytes behind it, one by one"""
    for i in range(n):
        connection = Connection(capture, client(i), port(i), WEB, handshake=False)
        connection.send(b"GET / HTTP/1.1\r\n")
        for j in range(40):
            connection.packet(connection.ours + 1 + 2 * j, b"x")


@kind
def frags_many(capture, n):
    """datagrams of a hundred tiny fragments, none whole"""
    for i in range(n):
        for j in range(100):
            capture.packet(ip(client(i), WEB, 17, b"x" * 8, i, 0x2000 | (2 + 2 * j)))


def framed(data, mask=b"\1\2\3\4"):
    return bytes([0x81, 0x80 | len(data)]) + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data))


@kind
def websocket_bytes(capture, n):
    """WebSocket frames of one byte"""
    connection = Connection(capture, client(1), 1234, WEB)
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.send(get(b"/", headers=upgrade + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))
    connection.receive(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n")
    for _ in range(n):
        connection.send(framed(b"/") * 100)


@kind
def proxies(capture, n):
    """a tunnel in a tunnel in a tunnel"""
    for i in range(n):
        connection = Connection(capture, client(i), port(i), WEB, handshake=False)
        for _ in range(12):
            connection.send(b"CONNECT 1.1.1.1:80 HTTP/1.1\r\n\r\n")
            connection.receive(b"HTTP/1.1 200 OK\r\n\r\n")


@kind
def proxy_headers(capture, n):
    exchanges(capture, n, b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" * 30 + get(b"/"))


@kind
def socks(capture, n):
    for i in range(n):
        connection = Connection(capture, client(i), port(i), WEB, handshake=False)
        for _ in range(10):
            connection.send(b"\5\1\0")
            connection.receive(b"\5\0")
            connection.send(b"\5\1\0\1\1\1\1\1\0P")
            connection.receive(b"\5\0\0\1\0\0\0\0\0\0")


@kind
def h2_open(capture, n):
    """streams that are never ended, with a body each"""
    connection = h2(capture)
    for i in range(n):
        stream = 2 * i + 1
        connection.send(h2_frame(HEADERS, 4, stream, H2_REQUEST) + h2_frame(0, 0, stream, b"x" * 1000))


@kind
def h2_tables(capture, n):
    """many connections, each with a full header table"""
    for i in range(n):
        connection = Connection(capture, client(i), port(i), WEB, handshake=False)
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(SETTINGS, 0, 0, b""))
        connection.send(h2_frame(HEADERS, 5, 1, H2_REQUEST + h2_literal(b"a" * 3900)))


@kind
def h2_cookies(capture, n):
    """a field of one byte each, thousands in a list"""
    connection = h2(capture)
    for i in range(n):
        connection.send(h2_frame(HEADERS, 5, 2 * i + 1, H2_REQUEST + b"\x00\1c\1/" * 3000))


@kind
def dns_records(capture, n):
    """thousands of the shortest records"""
    name = b"\1a\0"
    record = b"\0" + struct.pack("!HHIH", 16, 1, 60, 0)
    message = b"\x12\x34\x81\x80\0\1\x0f\xff\0\0\0\0" + name + b"\0\1\0\1" + record * 4095
    for i in range(n):
        datagram = struct.pack("!HHHH", 53, port(i), 8 + len(message), 0) + struct.pack("!H", i & 0xFFFF) + message[2:]
        for at in range(0, len(datagram), 1480):
            more = 0x2000 if at + 1480 < len(datagram) else 0
            capture.packet(ip(WEB, client(i), 17, datagram[at : at + 1480], i, at // 8 | more))


@kind
def dns_texts(capture, n):
    """answers of strings of no length"""
    data = b"\0" * 1200
    answer = b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0\1a\0\0\x10\0\1\xc0\x0c\0\x10\0\1\0\0\0\x3c" + struct.pack("!H", len(data))
    for i in range(n):
        capture.packet(udp(WEB, client(i), 53, port(i), answer + data))


@kind
def dns_questions(capture, n):
    """hundreds of questions in a query"""
    query = b"\x12\x34\1\0\0\xf0\0\0\0\0\0\0" + SERVICE_NAME + b"\0\1\0\1" + b"\xc0\x0c\0\1\0\1" * 239
    for i in range(n):
        capture.packet(udp(client(i), WEB, port(i), 53, query))


@kind
def dns_pipeline(capture, n):
    """queries over TCP, a byte at a time"""
    query = QUERY + b"\1a\0\0\1\0\1"
    connection = Connection(capture, client(1), 1234, WEB)
    for _ in range(n):
        connection.send(struct.pack("!H", len(query)) + query, 1)


@kind
def methods(capture, n):
    """one line of many requests, none of them whole"""
    exchanges(capture, n, b"GET " * 14000)


@kind
def blank_lines(capture, n):
    exchanges(capture, n, b"\r\n" * 29000 + get(b"/"))


@kind
def header_folds(capture, n):
    exchanges(capture, n, get(b"/", headers=b"X: http://1.1/\r\n" + b" //1.1/\r\n" * 6000))


@kind
def roles(capture, n):
    """a role's name of kilobytes, and the credential for it"""
    for i in range(n):
        connection = Connection(capture, client(i % 1000), port(i), METADATA)
        connection.send(get(ROLE + b"r%d" % i * 900, b"169.254.169.254"))
        connection.receive(response(credential(i)))
        connection.close()


@kind
def answers_encoded(capture, n):
    """metadata answers that hold text in base64 in base64, and many keys"""
    text = base64.b64encode(base64.b64encode(b"export A=b " * 2000))
    body = b'{"a":"' + text + b'",' + b",".join(b'"k%d":"v"' % i for i in range(1500)) + b"}"
    exchanges(capture, n, get(b"/latest/user-data", b"x"), response(body), METADATA)


# Other protocols and encodings, and credentials that come back again and again.


def secret(i=1):
    return json.loads(credential(i))["SecretAccessKey"].encode()


def stream(capture, n, data, answer=b""):
    """what some other protocol says, a connection each"""
    for i in range(n):
        connection = Connection(capture, client(i), port(i), WEB)
        connection.send(data)
        connection.receive(answer)


@kind
def leaked_raw(capture, n):
    """an issued secret, and nothing else"""
    one_issuance(capture)
    posts(capture, n, (secret() + b" ") * 1400, b"text/plain")


@kind
def leaked_base64(capture, n):
    one_issuance(capture)
    posts(capture, n, b" ".join(base64.b64encode(b"a" * (i % 7) + secret()) for i in range(900)), b"text/plain")


@kind
def leaked_hex(capture, n):
    one_issuance(capture)
    posts(capture, n, (secret().hex().encode() + b" ") * 700, b"text/plain")


@kind
def leaked_target(capture, n):
    """the same in the target of a metadata request, which is written"""
    one_issuance(capture)
    exchanges(capture, n, get(b"/latest/meta-data/" + (base64.b64encode(secret()) + b".") * 120, b"x"), server=METADATA)


@kind
def leaked_name(capture, n):
    """the same cut into labels"""
    one_issuance(capture)
    name = b"\x0f" + secret()[:15] + b"\x0f" + secret()[15:30] + b"\x07example\0"
    for i in range(n):
        capture.packet(udp(client(i), WEB, port(i), 53, QUERY + name + b"\0\1\0\1"))


@kind
def escaped_target(capture, n):
    """a metadata request with a query of escapes in escapes"""
    one_issuance(capture)
    exchanges(capture, n, get(b"/latest/meta-data/?" + b"%2525252568%26%5c" * 500, b"x"), server=METADATA)


@kind
def zip_text(capture, n):
    """compressed data by two bytes, again and again"""
    one_issuance(capture)
    posts(capture, n, b"x\x9c\x4bLJN\x01\0" * 6000, b"application/octet-stream")


@kind
def zlib_base64(capture, n):
    one_issuance(capture)
    run = base64.b64encode(zlib.compress(b"http://1/a " * 6000))
    posts(capture, n, (run + b" ") * (58000 // len(run)), b"text/plain")


@kind
def saml(capture, n):
    """deflated data in base64 in a form"""
    packed = base64.b64encode(zlib.compress(b"<a href='http://1.1/'/>" * 3000)[2:-4]).replace(b"+", b"%2B")
    form(capture, n, packed, 58000 // len(packed))


@kind
def quoted_printable(capture, n):
    head = b"--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    part = b"=68=74=74=70=3A=2F=2F=31=\r\n=2F=61 "
    posts(capture, n, head + part * 1600 + b"\r\n--b--", b"multipart/form-data; boundary=b")


@kind
def boundaries(capture, n):
    """lines that are nearly a boundary"""
    posts(capture, n, b"--b\r\n\r\n" + b"\r\n--a\r\n--" * 5800, b"multipart/form-data; boundary=" + b"b" * 60)


@kind
def json_escapes(capture, n):
    """a string in a string in a string"""
    text = json.dumps("http://1.1/\\")
    for _ in range(5):
        text = json.dumps(text)
    posts(capture, n, b"[" + b",".join([text.encode()] * (58000 // len(text))) + b"]")


@kind
def json_numbers(capture, n):
    """addresses by number, each in a field of its own"""
    posts(capture, n, b"{" + b",".join(b'"u%d":"2852039166","p":"/latest/meta-data/"' % i for i in range(1000)) + b"}")


@kind
def dtd(capture, n):
    entities = b"".join(b'<!ENTITY e%d SYSTEM "http://1.1/%d">' % (i, i) for i in range(1400))
    posts(capture, n, b'<?xml version="1.0"?><!DOCTYPE a [' + entities + b"]><a/>", b"application/xml")


@kind
def srcset(capture, n):
    posts(capture, n, b"<img srcset='" + b"//1.1/x 1x, " * 4800 + b"'>", b"text/html")


@kind
def scripts(capture, n):
    """an answer that sends its client to thousands of places"""
    page = b"<script>location='http://1.1/';</script>" * 1400
    exchanges(capture, n, get(b"/f?u=http://a.example/x"), response(page, content_type=b"text/html"))


@kind
def styles(capture, n):
    page = b"<style>" + b"a{background:url(//1.1/x)}" * 2200 + b"</style>"
    exchanges(capture, n, get(b"/f?u=http://a.example/x"), response(page, content_type=b"text/html"))


@kind
def grpc(capture, n):
    """messages in messages, each with a URL"""
    message = b"\x0a\x0bhttp://1.1/"
    while len(message) < 50000:
        message = b"".join(b"\x12" + varint(len(m)) + m for m in [message] * 2)
        message = b"\x0a" + varint(len(message)) + message
    body = b"\0" + struct.pack("!I", len(message)) + message
    posts(capture, n, body, b"application/grpc")


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@kind
def zip_in_zip(capture, n):
    import io
    import zipfile

    data = b"http://1.1/ " * 2000
    for _ in range(3):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(20):
                archive.writestr("f%d" % i, data)
        data = file.getvalue()
    posts(capture, n, data[:58000], b"application/zip")


@kind
def tar(capture, n):
    """files of a few bytes"""
    import io
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for i in range(50):
            info = tarfile.TarInfo("f%d" % i)
            info.size = 12
            archive.addfile(info, io.BytesIO(b"http://1.1/ "))
    posts(capture, n, file.getvalue()[:58000], b"application/x-tar")


@kind
def deflate_twice(capture, n):
    body = zlib.compress(zlib.compress(b"\0//1/" * 4_000_000))[:1200]
    posts(capture, n, body, b"text/plain", b"Content-Encoding: deflate, deflate\r\n")


@kind
def chunk_extensions(capture, n):
    chunk = b"1;a=http://1.1/\r\nx\r\n"
    exchanges(capture, n, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2600 + b"0\r\n\r\n")


@kind
def bare_lines(capture, n):
    """fields of one letter, with bare line ends"""
    exchanges(capture, n, b"GET / HTTP/1.1\nHost: x\n" + b"a:b\n" * 14000 + b"\n")


@kind
def answers_early(capture, n):
    """answers that nobody asked for, of no length"""
    connection = Connection(capture, client(1), 1234, WEB)
    connection.send(get(b"/"))
    for _ in range(n):
        connection.receive(b"HTTP/1.1 204 \r\n\r\n" * 60)


@kind
def interim(capture, n):
    """answers before the answer"""
    exchanges(capture, n, get(b"/"), b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\n" * 1600 + response(b"ok"))


@kind
def websocket_messages(capture, n):
    """WebSocket messages of a URL each"""
    connection = Connection(capture, client(1), 1234, WEB)
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.send(get(b"/", headers=upgrade + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))
    connection.receive(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n")
    for _ in range(n):
        connection.send(framed(b"{'u':'http://1@2.3/%2561'}" * 4) * 10)


@kind
def h2_bodies(capture, n):
    """bodies in frames of one byte"""
    connection = h2(capture)
    connection.send(h2_frame(HEADERS, 4, 1, H2_REQUEST))
    for _ in range(n):
        connection.send(h2_frame(0, 0, 1, b"x") * 100)


@kind
def h2_control(capture, n):
    """settings, pings, priorities and windows"""
    connection = h2(capture)
    frames = h2_frame(SETTINGS, 0, 0, b"") + h2_frame(6, 0, 0, b"x" * 8) + h2_frame(2, 0, 1, b"\0" * 5)
    for _ in range(n):
        connection.send((frames + h2_frame(8, 0, 0, b"\0\0\0\1")) * 20)


@kind
def h2_sizes(capture, n):
    """a header table that shrinks and grows"""
    connection = h2(capture)
    for i in range(n):
        sizes = b"\x20\x3f\xe1\x1f" * 40
        connection.send(h2_frame(HEADERS, 5, 2 * i + 1, sizes + H2_REQUEST))


@kind
def postgres(capture, n):
    statement = b"select * from a where b = 'http://1.1/' and c = 'aGVsbG8gd29ybGQgaGVsbG8'\0"
    query = b"Q" + struct.pack("!I", len(statement) + 4) + statement
    stream(capture, n, b"\0\0\0\x10\0\3\0\0user\0a\0\0" + query * 600, b"R\0\0\0\x08\0\0\0\0")


@kind
def mqtt(capture, n):
    """publications of a URL each"""
    payload = b"\0\1ahttp://1@1.1/%252f"
    stream(capture, n, b"\x10\x0d\0\4MQTT\4\2\0<\0\1a" + (b"\x30" + bytes([len(payload)]) + payload) * 2400)


@kind
def redis(capture, n):
    stream(capture, n, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$11\r\nhttp://1.1/\r\n" * 1300, b"+OK\r\n" * 1300)


@kind
def mail(capture, n):
    one_issuance(capture)
    line = base64.b64encode(b"http://1.1/ and so on and so forth, to the end of it. xx") + b"\r\n"
    stream(capture, n, b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\r\n" + line * 700 + b".\r\n", b"220 x ESMTP\r\n")


@kind
def shell(capture, n):
    """what is typed, a byte at a time"""
    one_issuance(capture)
    for i in range(n):
        connection = Connection(capture, client(i), port(i), WEB)
        connection.send(b"curl http://169.254.169.254/latest/meta-data/iam\n" * 4, 1)


@kind
def datagrams(capture, n):
    """text in datagrams, once a secret was issued"""
    one_issuance(capture)
    text = base64.b64encode(b"<13> app: http://1.1/ aA1aA1aA1aA1aA1aA1aA1 " * 24)
    for i in range(n):
        capture.packet(udp(client(i), WEB, port(i), 514, text))


@kind
def echoes(capture, n):
    """text in echo requests"""
    one_issuance(capture)
    for i in range(n):
        data = b"\x08\0\0\0" + struct.pack("!HH", i & 0xFFFF, 1) + base64.b32encode(b"aA1aA1aA1aA1" * 60)
        capture.packet(ip(client(i), WEB, 1, data))


@kind
def texts_in_names(capture, n):
    """answers of text that may be base64"""
    one_issuance(capture)
    text = b"\xf0" + base64.b64encode(b"aA1bB2cC3" * 20)
    data = text * 5
    answer = b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0\1a\0\0\x10\0\1\xc0\x0c\0\x10\0\1\0\0\0\x3c" + struct.pack("!H", len(data))
    for i in range(n):
        capture.packet(udp(WEB, client(i), 53, port(i), answer + data))


@kind
def agents(capture, n):
    """a client that calls itself otherwise each time"""
    request = lambda i: get(b"/latest/meta-data/", b"169.254.169.254", b"User-Agent: %d " % i + b"aws-sdk/2 " * 300 + b"\r\n")
    exchanges(capture, n, request, server=METADATA)


@kind
def shapes(capture, n):
    """answers that look like credentials, from anybody"""
    body = b"[" + b",".join(credential(i) for i in range(130)) + b"]"
    exchanges(capture, n, get(b"/x"), response(body, content_type=b"application/json"))


@kind
def documents(capture, n):
    """a credential document of thousands of keys"""
    body = b"{" + b",".join(b'"SecretAccessKey":"%s"' % secret(i) for i in range(800)) + b"}"
    exchanges(capture, n, get(ROLE, b"x"), response(body, content_type=b"application/json"), METADATA)


@kind
def erspan(capture, n):
    """encapsulated over and over by different means"""
    for i in range(n):
        packet = tcp(client(i), METADATA, 1234, 80, 1, 1, PSH_ACK, get(b"/"))
        for depth in range(6):
            packet = ip(numbered(0x0A030000, depth), WEB, 47, b"\0\0\x65\x58" + ETHERNET + IP4 + packet)
            packet = udp(WEB, numbered(0x0A030000, depth), 4000, 4789, b"\x08\0\0\0\0\0\1\0" + ETHERNET + IP4 + packet)
        capture.packet(packet)


# What pcapng is dearest on: files of their own.


def block(number, body):
    length = len(body) + 12
    return struct.pack("<II", number, length) + body + struct.pack("<I", length)


SECTION = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
INTERFACE = block(1, struct.pack("<HHI", 1, 0, 262144))


def enhanced(interface, time, frame):
    head = struct.pack("<IIIII", interface, time >> 32, time & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame + bytes(-len(frame) % 4))


@kind
def ng_sections(capture, n):
    """a section and an interface for each packet"""
    capture.restart(b"")
    for i in range(n):
        packet = tcp(client(1), METADATA, 1000, 80, 1 + 10 * i, 1, PSH_ACK, b"x" * 10)
        capture.file.write(SECTION + INTERFACE + enhanced(0, START + i, ETHERNET + IP4 + packet))


@kind
def ng_interfaces(capture, n):
    """thousands of interfaces in one section"""
    capture.restart(SECTION + INTERFACE * n)
    for i in range(n):
        packet = udp(client(i), WEB, 1000, 9999, b"x" * 10)
        capture.file.write(enhanced(i, START + i, ETHERNET + IP4 + packet))


@kind
def ng_options(capture, n):
    """comments of 60 KB on tiny packets"""
    comment = struct.pack("<HH", 1, 60000) + b"c" * 60000
    capture.restart(SECTION + INTERFACE)
    for i in range(n):
        frame = ETHERNET + IP4 + udp(client(i), WEB, 1000, 9999, b"x" * 10)
        head = struct.pack("<IIIII", 0, (START + i) >> 32, (START + i) & 0xFFFFFFFF, len(frame), len(frame))
        capture.file.write(block(6, head + frame + bytes(-len(frame) % 4) + comment))


@kind
def ng_unknown(capture, n):
    """blocks that nobody reads, one packet after each"""
    capture.restart(SECTION + INTERFACE)
    for i in range(n):
        frame = ETHERNET + IP4 + udp(client(i), WEB, 1000, 9999, b"x" * 10)
        capture.file.write(block(0x40000BAD, b"") * 20 + enhanced(0, START + i, frame))


def main():
    if len(sys.argv) != 4:
        print("\n".join(KINDS))
        return
    name, n, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    capture = Capture(path)
    KINDS[name](capture, n)
    capture.file.close()


if __name__ == "__main__":
    main()
