#!/usr/bin/env python3
"""Writes captures of request forgery that hides, and of what only looks like it. All keys are fake.

usage: make.py        writes disguised/, led-by-a-page/, long-body/ and forged-host/ beside this file, and
                      ../negative/records/
"""
import base64
import gzip
import json
import pathlib
import struct
import sys
import zlib

HERE = pathlib.Path(__file__).parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent))
from packets import ethernet, pcap, tcp  # noqa: E402

IMDS, APP, OTHER = "169.254.169.254", "10.20.0.10", "203.0.113.99"
PATH = "/latest/meta-data/iam/security-credentials/demo"
URL = f"http://{IMDS}{PATH}"
KEYS = json.dumps({
    "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAEXAMPLE000DEMO01", "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "Token": "IQoJb3JpZ2luX2VjEEXAMPLESESSIONTOKEN0123456789", "Expiration": "2026-11-24T12:00:00Z",
})


class Capture:
    def __init__(self):
        self.records, self.time, self.port, self.client = [], 1_795_500_000.0, 40000, 0

    def packet(self, source, destination, sport, dport, seq, ack, flags, payload=b""):
        self.records.append((self.time, ethernet(tcp(source, destination, sport, dport, seq, ack, flags, payload))))
        self.time += 0.0005

    def exchange(self, client, server, request, response, port=80, meanwhile=None):
        """One connection with one exchange; `meanwhile` is done before the answer."""
        self.port += 1
        to, back = (client, server, self.port, port), (server, client, port, self.port)
        seq, ack = 1001, 5001
        self.packet(*to, seq - 1, 0, 0x02)
        self.packet(*back, ack - 1, seq, 0x12)
        self.packet(*to, seq, ack, 0x10)
        for at in range(0, len(request), 1400):
            piece = request[at:at + 1400]
            self.packet(*to, seq, ack, 0x18, piece)
            seq += len(piece)
            if at % 14000 == 0:
                self.packet(*back, ack, seq, 0x10)
        self.packet(*back, ack, seq, 0x10)
        if meanwhile:
            meanwhile()
        self.packet(*back, ack, seq, 0x18, response)
        ack += len(response)
        self.packet(*to, seq, ack, 0x11)
        self.packet(*back, ack, seq + 1, 0x11)
        self.packet(*to, seq + 1, ack + 1, 0x10)
        self.time += 0.05

    def fetch(self):
        request = f"GET {PATH} HTTP/1.1\r\nHost: {IMDS}\r\nUser-Agent: Java/17.0.2\r\n\r\n".encode()
        self.exchange(APP, IMDS, request, answer(KEYS.encode(), "Server: EC2ws\r\n"))

    def inbound(self, request, meanwhile=None):
        self.client += 1
        self.exchange(f"198.51.100.{self.client}", APP, request, answer(b"ok"), 8080, meanwhile)

    def write(self, folder):
        folder.mkdir(exist_ok=True)
        (folder / "input.pcap").write_bytes(pcap(self.records))


def answer(body, headers=""):
    return f"HTTP/1.1 200 OK\r\n{headers}Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def get(target, headers=""):
    return f"GET {target} HTTP/1.1\r\nHost: app.example\r\n{headers}\r\n".encode()


def post(body, kind, target="/import", headers=""):
    head = f"POST {target} HTTP/1.1\r\nHost: app.example\r\nContent-Type: {kind}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def zipped(name, content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    name = name.encode()
    sizes = struct.pack("<III", zlib.crc32(content), len(packed), len(content))
    return b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 8, 0, 0) + sizes + struct.pack("<HH", len(name), 0) + name + packed


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


JSON, FORM = "application/json", "application/x-www-form-urlencoded"


def disguised():
    capture = Capture()
    links = "".join(f"<a href='/help/{i}'>?</a><img src='https://cdn.example/{i}.png'>" for i in range(120))
    slides = zipped("ppt/_rels/presentation.xml.rels", f'<Relationships><Relationship Target="{URL}" TargetMode="External"/></Relationships>'.encode())
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    requests = [
        post(json.dumps({"html": f"{links}<embed src='{URL}'>"}).encode(), JSON),
        post(json.dumps({"feed": URL}).encode("utf-16"), JSON),
        post(f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "{URL}">]><r>&x;</r>'.encode("utf-16-le"), "text/xml"),
        post(gzip.compress(json.dumps({"feed": URL}).encode(), mtime=0), JSON, headers="Content-Encoding: gzip\r\n"),
        post(slides, "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        post(("".join(part.format(f"f{i}", i) for i in range(150)) + part.format("u", URL) + "--b--\r\n").encode(), "multipart/form-data; boundary=b"),
        post(f"host={IMDS}&port=80&path={PATH.replace('/', '%2F')}".encode(), FORM),
        post(f"u={URL} and more".replace(" ", "+").encode(), FORM),
        get(f"/resize/{url64(URL.encode())}.png/../{url64(URL.encode())}"),
        get(f"/resize/{URL.encode().hex()}"),
        get(f"/f?u=https://r.example/go?to={URL}"),
        get("/f?u=zip:" + URL + "%21/a"),
        get(f"@{IMDS}{PATH}"),
        get(f"/f?u=http://{IMDS}%00.app.example{PATH}"),
        get("/me", f"Cookie: a=b; t={url64(json.dumps({'alg': 'RS256', 'x5u': URL}).encode())}.e30.c2ln\r\n"),
    ]
    for request in requests:
        capture.inbound(request, capture.fetch)
    capture.write(HERE / "disguised")


def led_by_a_page():
    capture = Capture()
    pages = [
        ("text/html", f"<html><p>hi<object data='{URL}'></object>"),
        ("text/html", f"<script>location.href='{URL}'</script>"),
        ("text/css", f"body {{ background: url({URL}) }}"),
        ("application/xml", f"<?xml version='1.0'?><?xml-stylesheet href='{URL}'?><r/>"),
    ]
    for number, (kind, page) in enumerate(pages):
        def visit(number=number, kind=kind, page=page):
            body = page.encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            request = f"GET /p{number} HTTP/1.1\r\nHost: pages.example\r\nUser-Agent: HeadlessChrome/126\r\n\r\n".encode()
            capture.exchange(APP, OTHER, request, head + body)
            capture.fetch()
        capture.inbound(get(f"/shot?url=http://pages.example/p{number}"), visit)
    capture.write(HERE / "led-by-a-page")


def long_body():
    capture = Capture()
    picture = base64.b64encode(bytes(range(256)) * 600).decode()
    capture.inbound(post(json.dumps({"picture": picture, "callback": URL}).encode(), JSON), capture.fetch)
    capture.write(HERE / "long-body")


def records():
    capture = Capture()
    documents = [
        ("/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": URL}}]}]}]}),
        ("/ingest", [{"@timestamp": "2026-11-24T12:00:00Z", "url": {"full": URL}, "imds": {"provider": "aws"}}]),
        ("/audit", {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"args": [URL]}]}}),
        ("/tasks", {"family": "web", "environment": [{"name": "METADATA", "value": URL}]}),
        ("/eve", {"event_type": "http", "flow_id": 1, "http": {"url": URL}}),
    ]
    for target, document in documents:
        capture.inbound(post(json.dumps(document).encode(), JSON, target))
    capture.inbound(get(f"/api/v1/hosts/{IMDS}/history"))
    capture.write(HERE.parent / "negative" / "records")


def forged_host():
    capture = Capture()
    page = b"<html><title>404</title></html>"
    head = f"HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"
    for number, path in enumerate([PATH, "/latest/user-data", "/computeMetadata/v1/project/"]):
        request = f"GET {path} HTTP/1.1\r\nHost: {IMDS}\r\nUser-Agent: Mozilla/5.0 zgrab/0.x\r\n\r\n".encode()
        capture.exchange("198.51.100.7", f"203.0.113.{number + 1}", request, head.encode() + page)
    capture.write(HERE / "forged-host")


for write in [disguised, led_by_a_page, long_body, records, forged_host]:
    write()
