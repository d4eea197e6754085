#!/usr/bin/env python3
"""What long bodies cost: bodies.py [KIND...], CPU time for 1 GB of JSON in requests and in answers, plain, gzip and brotli.

Environment: IMDSWATCH (the program), OTHER (another build to compare with), SIZE (bytes of JSON, 1000000000), RUNS (3). A KIND
is `plain`, `gzip` or `brotli` (which needs Python's module `brotli`), with `-request` or `-answer` behind it. Columns: captured
MB, CPU seconds (median of RUNS), ns for each byte of JSON, and the same of OTHER with the ratio.
"""
import gzip
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("IMDSWATCH", os.path.join(HERE, "../target/release/imdswatch"))
SIZE, RUNS = int(os.environ.get("SIZE", "1000000000")), int(os.environ.get("RUNS", "3"))
WORDS = "alpha bravo session invoice customer delivery status pending region eu-west-1 2026-03-01T10:00:00Z https://shop.example/p/".split()
SERVER = ("10.9.9.9", 8080)
FIN, SYN, PSH, ACK = 1, 2, 8, 16
SEGMENT = 1448


def document(rng, size):
    rows, length = [], 0
    while length < size:
        note, url = " ".join(rng.choices(WORDS, k=8)), f"https://shop.example/p/{rng.randrange(10**6)}"
        row = json.dumps({"id": rng.randrange(10**9), "url": url, "tags": rng.sample(WORDS, 3), "price": rng.random() * 1000, "note": note})
        rows.append(row)
        length += len(row) + 1
    return f"[{','.join(rows)}]".encode()


def packed(coding, text):
    if coding == "brotli":
        import brotli
        return brotli.compress(text, quality=5)
    return gzip.compress(text, 6) if coding == "gzip" else text


class Capture:
    def __init__(self, file):
        self.file, self.micros = file, 0
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

    def segment(self, source, target, seq, ack, flags, data=b""):
        self.micros += 5
        ends = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0) + ends
        tcp = struct.pack(">HHIIBBHHH", source[1], target[1], seq, ack, 0x50, flags, 65535, 0, 0)
        frame = b"\2" * 6 + b"\4" * 6 + b"\x08\0" + ip + tcp + data
        time = divmod(self.micros, 1_000_000)
        self.file.write(struct.pack("<IIII", 1780000000 + time[0], time[1], len(frame), len(frame)) + frame)

    def say(self, source, target, seq, ack, data):
        """Sends data; the other side acknowledges now and then, so that all of it is within its window."""
        for nth, at in enumerate(range(0, len(data), SEGMENT)):
            part = data[at:at + SEGMENT]
            self.segment(source, target, seq, ack, PSH | ACK, part)
            seq += len(part)
            if nth % 16 == 15:
                self.segment(target, source, ack, seq, ACK)
        return seq

    def exchange(self, nth, request, answer):
        client = (f"10.0.{nth >> 8 & 255}.{nth & 255}", 20000 + nth % 40000)
        self.segment(client, SERVER, 1, 0, SYN)
        self.segment(SERVER, client, 1, 2, SYN | ACK)
        self.segment(client, SERVER, 2, 2, ACK)
        asked = self.say(client, SERVER, 2, 2, request)
        answered = self.say(SERVER, client, 2, asked, answer)
        self.segment(SERVER, client, answered, asked, FIN | ACK)
        self.segment(client, SERVER, asked, answered + 1, FIN | ACK)
        self.segment(SERVER, client, answered + 1, asked + 1, ACK)


def write(kind, path):
    """Bytes of JSON in the capture."""
    coding, _, where = kind.partition("-")
    rng = random.Random(7)
    texts = [document(rng, 1 << 20) for _ in range(8)]
    bodies = [packed(coding, text) for text in texts]
    field = {"plain": "", "gzip": "Content-Encoding: gzip\r\n", "brotli": "Content-Encoding: br\r\n"}[coding]
    done = nth = 0
    with open(path, "wb", 1 << 22) as file:
        capture = Capture(file)
        while done < SIZE:
            body = bodies[nth % 8]
            fields = f"Content-Type: application/json\r\n{field}Content-Length: {len(body)}\r\n\r\n".encode()
            line = f" /api/items?page={nth} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: app\r\n".encode()
            if where == "request":
                capture.exchange(nth, b"POST" + line + fields + body, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                capture.exchange(nth, b"GET" + line + b"\r\n", b"HTTP/1.1 200 OK\r\n" + fields + body)
            done += len(texts[nth % 8])
            nth += 1
    return done


def seconds(program, path):
    times = []
    for _ in range(RUNS):
        child = subprocess.Popen([program, "-r", path, "-o", "/dev/null", "--quiet"], stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(child.pid, 0)
        times.append(usage.ru_utime + usage.ru_stime)
    return statistics.median(times)


def main():
    kinds = sys.argv[1:] or [f"{coding}-{where}" for where in ("answer", "request") for coding in ("plain", "gzip", "brotli")]
    other = os.environ.get("OTHER")
    print(f"{'kind':16} {'MB':>7} {'CPU s':>7} {'ns/byte':>8}" + (f" {'other':>7} {'ratio':>6}" if other else ""))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bodies.pcap")
        for kind in kinds:
            try:
                size = write(kind, path)
            except ModuleNotFoundError as missing:
                print(f"{kind:16} skipped: {missing}")
                continue
            took = seconds(PROGRAM, path)
            row = f"{kind:16} {os.path.getsize(path) / 1e6:7.1f} {took:7.2f} {took / size * 1e9:8.2f}"
            if other:
                than = seconds(other, path)
                row += f" {than:7.2f} {took / than:6.2f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
