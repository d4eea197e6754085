#!/usr/bin/env python3
"""Compose days of metadata traffic with known truth, in the form that a scorer of noise reads.

usage: day.py FOLDER [--seed N] [--only PATTERN]

Writes, for each day, DAY.pcap, DAY.truth.jsonl.zst (one array per conversation: time, client, client port, server, server port,
actor, `benign` or `theft`, recording) and a line of labels.jsonl. The forms of the requests are those of src/data/clients.toml and
of clients that no table has; periods, restarts and addresses are drawn from the seed. Every secret is made up.
"""
import argparse
import base64
import fnmatch
import json
import pathlib
import random
import struct
import subprocess
import time

BEGIN = 1794787200          # 2026-11-16T00:00:00Z
HOUR = 3600
IMDS, TASK, POD_IDENTITY = "169.254.169.254", "169.254.170.2", "169.254.170.23"
BOTO = "Boto3/1.34.1 md/Botocore#1.34.1 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.11.2 md/pyimpl#CPython Botocore/1.34.1"
GO2 = "aws-sdk-go-v2/1.30.3 ua/2.1 os/linux lang/go#1.22.5 md/GOOS#linux md/GOARCH#amd64 ft/ec2-imds"
JAVA2 = "aws-sdk-java/2.26.20 md/io#sync md/http#UrlConnection ua/2.1 os/Linux#6.1.0 lang/java#17.0.12 md/OpenJDK_64-Bit_Server_VM#17.0.12"
JAVA = "Accept: text/html, image/gif, image/jpeg, */*; q=0.2"
GZIP, RUBY = "Accept-Encoding: gzip", "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3"

# How clients of AWS write a request's headers: `H` is the host, `T` the service's own header; `low` where they spell it in lower case.
# steps: which session token they use (each, cached, mixed, none).
AWS = {
    "boto3": ("low each", ["Host: H", "Accept-Encoding: identity", "T", "User-Agent: " + BOTO]),
    "awscli": ("low each", ["Host: H", "Accept-Encoding: identity", "T", "User-Agent: aws-cli/2.15.0 Python/3.11.6 Linux/6.1 exe/x86_64 prompt/off"]),
    "aiobotocore": ("low each", ["Host: H", "T", "User-Agent: aiobotocore/2.13.1 md/Botocore#1.34.131 os/linux", "Accept-Encoding: identity", "Accept: */*"]),
    "go v1": ("canonical cached", ["Host: H", "User-Agent: aws-sdk-go/1.55.5 (go1.22.5; linux; amd64)", "T", GZIP]),
    "go v2": ("canonical cached", ["Host: H", "User-Agent: " + GO2, "Amz-Sdk-Request: attempt=1; max=3", "T", GZIP]),
    "java v1": ("low each", ["User-Agent: aws-sdk-java/1.12.765 Linux/6.1 OpenJDK_64-Bit_Server_VM/17.0.12 java/17.0.12 vendor/Debian", "T", "Accept: */*", "Host: H", "Connection: keep-alive"]),
    "java v2": ("low cached", ["T", "Accept: */*", "User-Agent: " + JAVA2, "Host: H", "Connection: keep-alive"]),
    "node v3": ("low cached", ["T", "Host: H", "Connection: close"]),
    "s3fs": ("canon mixed", ["Host: H", "User-Agent: s3fs/1.90 (commit hash unknown; GnuTLS(gcrypt))", "Accept: */*", "T"]),
    "restic": ("canonical each", ["Host: H", "User-Agent: Go-http-client/1.1", "T", GZIP]),
    "rclone": ("canonical cached", ["Host: H", "User-Agent: rclone/v1.67.0", "T", GZIP]),
    "ruby sdk": ("canonical cached", ["User-Agent: aws-sdk-ruby3/3.201.1", "T", RUBY, "Accept: */*", "Host: H"]),
    "php sdk": ("low each", ["Host: H", "User-Agent: aws-sdk-php/3.316.6 GuzzleHttp/7", "T"]),
    "c++ sdk": ("low each", ["Host: H", "Accept: */*", "user-agent: aws-sdk-cpp/1.11.350 ua/2.0 md/aws-crt# os/Linux/6.1 md/arch#x86_64 lang/c++#C++17", "T"]),
    "unknown go": ("canonical cached", ["Host: H", "User-Agent: acme-collector/4.2 (linux)", "T", GZIP]),
    "unknown python": ("as each", ["Host: H", "User-Agent: inventoryd/0.9", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "T"]),
    "unknown c": ("low each", ["Host: H", "Accept: application/json", "T", "User-Agent: Fluent-Thing/3.1", "Connection: keep-alive"]),
    "unknown tiny": ("low each", ["Host: H", "User-Agent: tinyagent/1.0", "T"]),
    "unknown okhttp": ("low cached", ["T", "Host: H", "Connection: Keep-Alive", "Accept-Encoding: gzip", "User-Agent: okhttp/4.12.0"]),
    "unknown axios": ("as each", ["Accept: application/json, text/plain, */*", "T", "User-Agent: axios/1.7.2", "Accept-Encoding: gzip, compress, deflate, br", "Host: H", "Connection: keep-alive"]),
    "unknown nameless": ("low cached", ["host: H", "T", "accept: */*"]),
}
THEFTS = {
    "curl": ("as each", ["Host: H", "User-Agent: curl/8.5.0", "Accept: */*", "T"]),
    "curl -A x": ("as each", ["Host: H", "User-Agent: x", "Accept: */*", "T"]),
    "curl as Boto3": ("as each", ["Host: H", "User-Agent: " + BOTO, "Accept: */*", "T"]),
    "curl as go": ("as each", ["Host: H", "User-Agent: " + GO2, "Accept: */*", "T"]),
    "curl nameless": ("as each", ["Host: H", "Accept: */*", "T"]),
    "requests": ("as each", ["Host: H", "User-Agent: python-requests/2.32.3", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "T"]),
    "requests as Boto3": ("as each", ["Host: H", "User-Agent: " + BOTO, "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "T"]),
    "requests as x": ("as each", ["Host: H", "User-Agent: x", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "T"]),
    "wget": ("as each", ["Host: H", "User-Agent: Wget/1.21.3", "Accept: */*", "Accept-Encoding: identity", "Connection: Keep-Alive", "T"]),
    "urllib": ("low each", ["Accept-Encoding: identity", "Host: H", "User-Agent: Python-urllib/3.11", "T", "Connection: close"]),
    "go": ("canonical each", ["Host: H", "User-Agent: Go-http-client/1.1", "T", "X-Want: 1", GZIP]),
    "PowerShell": ("as each", ["Host: H", "User-Agent: Mozilla/5.0 (Linux; Debian 12; en-US) PowerShell/7.4.3", "T"]),
    "nothing": ("as none", ["Host: H"]),
    "curl v1": ("as none", ["Host: H", "User-Agent: curl/8.5.0", "Accept: */*"]),
}
SPELLING = {"low": str.lower, "canonical": str.title, "canon": lambda name: name, "as": lambda name: name}


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2])) + (data[-1] << 8 if len(data) % 2 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address):
    return bytes(map(int, address.split(".")))


class Day:
    """Packets and truth of one day."""

    def __init__(self, name, seed, right):
        self.name, self.right, self.random = name, right, random.Random(f"{name} {seed}")
        self.frames, self.truth, self.ports, self.tokens = [], [], {}, 0

    def segment(self, when, source, target, flags, seq, ack, data=b""):
        (a, ap), (b, bp) = source, target
        tcp = struct.pack(">HHIIBBHHH", ap, bp, seq, ack, 5 << 4, flags, 64240, 0, 0) + data
        pseudo = packed(a) + packed(b) + struct.pack(">BBH", 0, 6, len(tcp))
        tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp)) + tcp[18:]
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0) + packed(a) + packed(b)
        ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
        macs = (b"\2\0" + packed(b), b"\2\0" + packed(a))
        self.frames.append((when, b"".join(macs) + b"\x08\x00" + ip + tcp))

    def talk(self, when, client, server, request, response, actor, verdict):
        """One request on a connection of its own; the time when it is over."""
        port = self.ports[client] = (self.ports.get(client, 32768) + 1 - 32768) % 28000 + 32768
        here, there = (client, port), (server, 80)
        seq, back, step = self.random.getrandbits(31), self.random.getrandbits(31), 0.0004
        send = self.segment
        send(when, here, there, 2, seq, 0)
        send(when + step, there, here, 0x12, back, seq + 1)
        send(when + 2 * step, here, there, 0x18, seq + 1, back + 1, request)
        seq += 1 + len(request)
        send(when + 4 * step, there, here, 0x18, back + 1, seq, response)
        back += 1 + len(response)
        send(when + 5 * step, here, there, 0x11, seq, back)
        send(when + 6 * step, there, here, 0x11, back, seq + 1)
        send(when + 7 * step, here, there, 0x10, seq + 1, back + 1)
        self.truth.append([when, client, port, server, 80, actor, verdict, actor])
        return when + 0.004

    def ask(self, when, client, server, method, target, headers, body, actor, verdict="benign", status=200, more=()):
        kind = "application/json" if body[:1] == "{" else "text/plain"
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(h + "\r\n" for h in headers) + "\r\n"
        answer = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n" + "".join(m + "\r\n" for m in more) + f"Content-Length: {len(body)}\r\n\r\n{body}"
        return self.talk(when, client, server, head.encode(), answer.encode(), actor, verdict)

    def secret(self, when, salt, size=40):
        """A secret that rotates with the hour."""
        draw = random.Random(f"{self.name} {salt} {int(when // HOUR)}")
        return base64.b64encode(draw.randbytes(size)).decode().rstrip("=")

    def role(self, when, salt):
        stamp = lambda t: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))
        hour = when // HOUR * HOUR
        key = "ASIA" + base64.b32encode(self.secret(when, salt + "id", 10).encode()).decode()[:16]
        return json.dumps({"Code": "Success", "LastUpdated": stamp(hour), "Type": "AWS-HMAC", "AccessKeyId": key, "SecretAccessKey": self.secret(when, salt, 30),
                           "Token": self.secret(when, salt + "token", 200), "Expiration": stamp(hour + 6 * HOUR)})

    def aws(self, when, client, row, actor, verdict="benign", role="demo-role", token=None):
        """Token, list, role, as a client takes these steps; gives the session token."""
        (spelling, use), headers = row[0].split(), row[1]
        spell = SPELLING[spelling]
        own = lambda name, value: [h.replace(": H", ": " + IMDS, 1) if h != "T" else f"{spell(name)}: {value}" for h in headers if h != "T" or value]
        ec2 = ["Server: EC2ws", "Accept-Ranges: none"]

        def fresh():
            nonlocal when
            self.tokens += 1
            value = base64.b64encode(f"{self.name} token {self.tokens:08}".encode() + bytes(20)).decode()
            more = ec2 + ["X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600"]
            when = self.ask(when, client, IMDS, "PUT", "/latest/api/token", own("X-aws-ec2-metadata-token-ttl-seconds", "21600") + ["Content-Length: 0"], value, actor, verdict, more=more)
            return value

        if use != "none" and (use != "cached" or token is None):
            token = fresh() if use != "mixed" else None
        get = lambda path, body: self.ask(when, client, IMDS, "GET", path, own("X-aws-ec2-metadata-token", token), body, actor, verdict, more=ec2)
        base = "/latest/meta-data/iam/security-credentials/"
        when = get(base, role)
        if use == "mixed":
            token = fresh()
        when = get(base + role, self.role(when, client + role))
        return token

    def periodic(self, first, period, until=24 * HOUR, starts=()):
        """Times of a client that asks at its start and each period, anew after each restart."""
        begins = sorted([first, *starts])
        for begin, end in zip(begins, begins[1:] + [until]):
            at = begin
            while at < end:
                yield at, at == begin
                at += period * self.random.uniform(0.93, 1.03)

    def aws_client(self, client, name, period, starts=(), first=None, until=24 * HOUR, role="demo-role"):
        row, token, issued = AWS[name], None, 0
        for at, begins in self.periodic(self.random.uniform(5, 900) if first is None else first, period, until, starts):
            if begins or at - issued > 5 * HOUR:
                token, issued = None, at
            token = self.aws(BEGIN + at, client, row, name if POD_NET not in client else f"pod {name}", role=role, token=token)

    def container(self, client, server, target, row, actor, period, first, until=24 * HOUR, verdict="benign"):
        for at, _ in self.periodic(first, period, until):
            body = json.loads(self.role(BEGIN + at, client + target))
            short = {"RoleArn": "arn:aws:iam::123456789012:role/task", **{k: body[k] for k in ("AccessKeyId", "SecretAccessKey", "Token", "Expiration")}}
            self.ask(BEGIN + at, client, server, "GET", target, [h.replace(": H", ": " + server, 1) for h in row], json.dumps(short), actor, verdict)

    def theft(self, at, client, name, role="demo-role"):
        self.aws(BEGIN + at, client, THEFTS[name], f"THEFT {name} at {at / HOUR:.0f} h", "theft", role)

    def allow(self, names):
        """More alerts of the first half: what the severity table gives so many known and unknown clients."""
        floor = sum(5 if name.startswith("unknown") else 3 for name in names)
        self.right = {**self.right, "medium_first12_per_host_max": max(floor, RIGHT["medium_first12_per_host_max"])}

    def write(self, folder):
        self.frames.sort(key=lambda frame: frame[0])
        with open(folder / f"{self.name}.pcap", "wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for when, frame in self.frames:
                out.write(struct.pack("<IIII", int(when), int(when % 1 * 1e6), len(frame), len(frame)) + frame)
        rows = "".join(json.dumps(row) + "\n" for row in sorted(self.truth))
        subprocess.run(["zstd", "-qfo", str(folder / f"{self.name}.truth.jsonl.zst")], input=rows.encode(), check=True)
        return {"file": f"{self.name}.pcap", "what": self.name, "right": self.right}


POD_NET = "10.244."
# `T` is where the bearer stands that Pod Identity asks for.
CONTAINER = {
    "boto3": ["Host: H", "Accept-Encoding: identity", "User-Agent: python-urllib3/1.26.18", "Accept: application/json", "T"],
    "go v2": ["Host: H", "User-Agent: Go-http-client/1.1", "Accept: application/json", "Amz-Sdk-Invocation-Id: 1", "Amz-Sdk-Request: attempt=1; max=3", "T", GZIP],
    "node": ["T", "Host: H", "Connection: close"],
    "java v2": ["T", "User-Agent: " + JAVA2, "Host: H", "Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "Connection: keep-alive"],
    "unknown": ["Host: H", "Accept: */*", "User-Agent: acme-task/1.0", "T"],
}
BEARER = "Authorization: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwb2QifQ.c2lnbmF0dXJl"
# What the severity table itself allows: a known client is high, medium and once `more-than-usual`; one that nobody knows critical, high, medium.
RIGHT = {"medium_first12_per_host_max": 35, "medium_first12_per_pod_max": 3, "medium_last12_per_host_max": 0, "theft_rank": 1}


def thefts(day, client, names, times=(3, 18)):
    for n, name in enumerate(names):
        day.theft(times[n % len(times)] * HOUR + 137 + 61 * n, client, name)


def host(name, seed, clients, stolen, times=(3, 18)):
    day, client = Day(name, seed, RIGHT), "10.20.0.10"
    day.allow(clients)
    for client_name in clients:
        day.aws_client(client, client_name, 0.9 * HOUR, starts=(6 * HOUR + 40, 15 * HOUR + 40))
    thefts(day, client, stolen, times)
    return day


def slow_host(seed):
    """Clients that renew each few hours, and a reboot at 15 h."""
    # a client that starts again and fetches the credential that it has is more than usual
    day = Day("aws_slow", seed, {**RIGHT, "medium_last12_per_host_max": 1})
    day.allow(AWS)
    for name in AWS:
        day.aws_client("10.20.0.10", name, day.random.choice([1, 2, 5, 6]) * 0.95 * HOUR, starts=(15 * HOUR + day.random.uniform(0, 60),))
    thefts(day, "10.20.0.10", ["curl as Boto3", "curl -A x"])
    return day


def fast_host(seed):
    """Clients that ask every minute or few, and never cache."""
    # the first five of a thing within an hour are an alert each, while it is critical and while it is high
    day = Day("aws_fast", seed, {**RIGHT, "medium_first12_per_host_max": 45})
    for name in ("boto3", "php sdk", "s3fs", "unknown go", "unknown c"):
        day.aws_client("10.20.0.10", name, day.random.choice([60, 180, 600]))
    thefts(day, "10.20.0.10", ["curl", "requests as Boto3"])
    return day


def eks(seed, stolen):
    day = Day("eks_thefts" if stolen else "eks", seed, RIGHT)
    names = ["boto3", "go v2", "java v2", "node v3", "unknown go", "aiobotocore"]
    for n in range(29):
        client, kind = f"{POD_NET}1.{n + 10}", n % 3
        until = 24 * HOUR if n % 7 else 13 * HOUR                     # some start again under another address
        for address, first, end in [(client, 20 + 7 * n, until), (f"{POD_NET}1.{n + 100}", until + 30, 24 * HOUR)]:
            if first >= end:
                continue
            if kind == 0:
                day.aws_client(address, names[n % len(names)], 0.9 * HOUR, first=first, until=end)
            else:
                which = list(CONTAINER)[n % len(CONTAINER)]
                head = [h if h != "T" else BEARER for h in CONTAINER[which]]
                day.container(address, POD_IDENTITY, "/v1/credentials", head, f"pod {which}", 0.9 * HOUR, first, end)
    for name in ("go v2", "boto3"):
        day.aws_client("10.20.0.20", name, 0.9 * HOUR, role="node-role")
    if stolen:
        thefts(day, f"{POD_NET}1.13", ["curl as Boto3", "curl nameless"])
    return day


def eks_node_role(seed):
    """Pods of one subnet with their node (as the VPC's CNI gives addresses); the node's role is stolen from one of them."""
    # for an hour after a theft its address gets no credit from its neighbours: one pod's first sight is high
    day = Day("eks_node_role", seed, {**RIGHT, "medium_last12_per_host_max": 1})
    names = ["boto3", "go v2", "java v2", "unknown go"]
    for n in range(20):
        for address, first, end in [(20 + n, 30 + 11 * n, (9 + n / 2) * HOUR), (60 + n, (9 + n / 2) * HOUR + 30, 24 * HOUR)]:
            which = list(CONTAINER)[n % len(CONTAINER)]
            head = [h if h != "T" else BEARER for h in CONTAINER[which]]
            day.container(f"10.20.1.{address}", POD_IDENTITY, "/v1/credentials", head, f"pod {which}", 0.9 * HOUR, first, end)
    for name in names:
        day.aws_client("10.20.1.10", name, 0.9 * HOUR, role="node-role")
    for at, address, name in [(2, 21, "curl"), (14, 70, "requests"), (14, 71, "curl as Boto3"), (23, 72, "go"), (23, 73, "requests as Boto3"), (15, 74, "nothing")]:
        day.theft(at * HOUR + 77, f"10.20.1.{address}", name, "node-role")
    return day


def jobs(seed):
    """Jobs that each run under an address of their own, every half hour; one of them is a thief."""
    day = Day("jobs", seed, RIGHT)
    day.right = {**RIGHT, "medium_first12_per_pod_max": 1}
    for n in range(46):
        for k, name in enumerate(("boto3", "go v2", "unknown python")):
            at = n * HOUR / 2 + 60 * k + 20
            day.aws(BEGIN + at, f"{POD_NET}{2 + n // 40}.{10 + n % 40 + 60 * k}", AWS[name], f"pod {name}")
    for at, address, name in [(2, 17, "curl -A x"), (14, 18, "urllib"), (23, 19, "PowerShell")]:
        day.theft(at * HOUR + 1000, f"{POD_NET}9.{address}", name)
    return day


def ecs_again(seed):
    """Tasks that are replaced twice, with another address and another path."""
    day = Day("ecs_again", seed, RIGHT)
    for n in range(12):
        which = list(CONTAINER)[n % len(CONTAINER)]
        for k, (first, end) in enumerate([(0, 8), (8, 13), (13, 24)]):
            head = [h for h in CONTAINER[which] if h != "T"]
            target = f"/v2/credentials/0000{n:04}-aaaa-bbbb-cccc-00000000000{k}"
            day.container(f"10.20.{k}.{31 + n}", TASK, target, head, f"task {which}", 0.9 * HOUR, first * HOUR + 30 + 11 * n, end * HOUR)
    for at, k, name in [(2, 0, "requests"), (14, 2, "curl as Boto3"), (23, 2, "curl nameless"), (23.2, 2, "wget")]:
        head = [h for h in THEFTS[name][1] if h != "T"]
        day.container(f"10.20.{k}.33", TASK, f"/v2/credentials/00000002-aaaa-bbbb-cccc-00000000000{k}", head, f"THEFT {name}", 30 * HOUR, at * HOUR, verdict="theft")
    return day


def tools(seed):
    """Every kind of theft, by day and by night."""
    # they start again at 13 h: who fetches the credential that it has, as never before, is more than usual
    day = Day("aws_tools", seed, {**RIGHT, "medium_last12_per_host_max": 1})
    day.allow(AWS)
    for name in AWS:
        day.aws_client("10.20.0.10", name, day.random.uniform(0.3, 2) * HOUR, starts=(13 * HOUR,))
    thefts(day, "10.20.0.10", list(THEFTS), (2, 14, 23))
    return day


def ecs(seed):
    day = Day("ecs_thefts", seed, RIGHT)
    for n in range(12):
        which = list(CONTAINER)[n % len(CONTAINER)]
        day.container(f"10.20.0.{31 + n}", TASK, f"/v2/credentials/0000{n:04}-aaaa-bbbb-cccc-000000000000", [h for h in CONTAINER[which] if h != "T"], f"task {which}", 0.9 * HOUR, 30 + 11 * n)
    for n, name in enumerate(("curl", "curl as Boto3")):
        head = [h for h in THEFTS[name][1] if h != "T"]
        day.container("10.20.0.33", TASK, "/v2/credentials/00000002-aaaa-bbbb-cccc-000000000000", head, f"THEFT {name}", 30 * HOUR, (3 + 15 * n) * HOUR, verdict="theft")
    return day


# Thefts from clouds whose services issue in one request, by what stands between Host and Accept.
BARE = [("nameless", []), ("requests", ["User-Agent: python-requests/2.32.3", "Accept-Encoding: gzip, deflate"]), ("wget", ["User-Agent: Wget/1.21.3"])]


def bearer(day, when, salt):
    return json.dumps({"access_token": "ya29." + day.secret(when, salt, 90), "expires_in": 3599, "token_type": "Bearer"})


def gcp(seed):
    day, client = Day("gcp_thefts", seed, RIGHT), "10.30.0.10"
    flavor, base = "Metadata-Flavor: Google", "/computeMetadata/v1/instance/service-accounts/default/"
    forms = {
        "google-auth": ["Host: metadata.google.internal", "User-Agent: python-requests/2.32.3", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "metadata-flavor: Google", "x-goog-api-client: gl-python/3.11.2 auth/2.32.0 auth-request-type/at cred-type/mds"],
        "google-cloud-go": ["Host: 169.254.169.254", "User-Agent: gcloud-golang/0.1", flavor, GZIP],
        "gaxios": [flavor, "x-goog-api-client: gl-node/20 auth/9", "Accept: */*", "User-Agent: gaxios/6.7.0", "Accept-Encoding: gzip, deflate", "Host: 169.254.169.254", "Connection: close"],
        "google-auth java": [GZIP, "User-Agent: Google-HTTP-Java-Client/1.45.0 (gzip)", "metadata-flavor: Google", "x-goog-api-client: gl-java/17.0.12 auth/1.30.0 auth-request-type/at cred-type/mds", "Host: metadata.google.internal", JAVA, "Connection: keep-alive"],
        "google-auth ruby": ["User-Agent: Faraday v2.9.0", flavor, RUBY, "Accept: */*", "Host: 169.254.169.254"],
        "unknown rust": ["metadata-flavor: Google", "accept: */*", "user-agent: lakehouse/0.10", "host: metadata.google.internal"],
    }
    for name, head in forms.items():
        for at, _ in day.periodic(day.random.uniform(5, 600), 0.95 * HOUR, starts=(6 * HOUR, 15 * HOUR)):
            day.ask(BEGIN + at, client, IMDS, "GET", base + "token", head, bearer(day, BEGIN + at, "a"), name, more=[flavor, "Server: Metadata Server for VM"])
    agent = ["Host: 169.254.169.254", "User-Agent: Go-http-client/1.1", flavor, GZIP]
    for at, _ in day.periodic(3, 70):
        target = "/computeMetadata/v1//?timeout_sec=60&last_etag=abc&alt=json&recursive=true&wait_for_change=true"
        day.ask(BEGIN + at, client, IMDS, "GET", target, agent, '{"instance":{"attributes":{},"id":1},"project":{}}', "guest agent", more=[flavor, "Server: Metadata Server for VM"])
    for n, (name, agent) in enumerate([("curl", "curl/8.5.0"), ("curl as google", "gcloud-golang/0.1"), ("curl -A x", "x"), ("curl as ruby", "Faraday v2.9.0"), ("curl as java", "Java/17.0.12"), *BARE]):
        at = BEGIN + (2, 14, 23)[n % 3] * HOUR + 91 * n
        head = ["Host: metadata.google.internal", *([f"User-Agent: {agent}"] if isinstance(agent, str) else agent), "Accept: */*", flavor]
        day.ask(at, client, IMDS, "GET", base + "token", head, bearer(day, at, "a"), f"THEFT {name}", "theft", more=[flavor])
    return day


def azure(seed):
    day, client = Day("azure_thefts", seed, RIGHT), "10.40.0.10"
    token = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
    forms = {
        "azure-identity python": ["Host: 169.254.169.254", "User-Agent: azsdk-python-identity/1.17.1 Python/3.11.2 (Linux)", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "Metadata: true"],
        "azure-identity go": ["Host: 169.254.169.254", "User-Agent: azsdk-go-azidentity/v1.7.0 (go1.22.5; linux)", "Metadata: true", GZIP],
        "azure-identity net": ["Host: 169.254.169.254", "Metadata: true", "x-ms-client-request-id: 5a", "x-ms-return-client-request-id: true", "User-Agent: azsdk-net-Identity/1.12.0 (.NET 8.0.7; Debian 12)"],
        "msal java": ["Metadata: true", "User-Agent: Java/17.0.12", "Host: 169.254.169.254", JAVA, "Connection: keep-alive"],
        "azure-identity java": ["host: 169.254.169.254", "accept: */*", "Metadata: true", "User-Agent: azsdk-java-azure-identity/1.14.2 (17.0.12; Linux; 6.1)"],
        "unknown": ["Host: 169.254.169.254", "User-Agent: blobsync/2.0", "Accept: application/json", "Metadata: true"],
    }

    def ask(at, head, name, verdict="benign"):
        body = json.dumps({"access_token": "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + day.secret(BEGIN + at, "b", 90) + ".c2ln", "client_id": "11111111-2222-3333-4444-555555555555", "expires_in": "86399",
                           "expires_on": str(int(BEGIN + at) + 86399), "resource": "https://vault.azure.net", "token_type": "Bearer"})
        day.ask(BEGIN + at, client, IMDS, "GET", token, head, body, name, verdict, more=["Server: IMDS/150.870.65.1324"])

    for name, head in forms.items():
        for at, _ in day.periodic(day.random.uniform(5, 600), 2.5 * HOUR, starts=(6 * HOUR, 15 * HOUR)):
            ask(at, head, name)
    for at, _ in day.periodic(9, 60):
        day.ask(BEGIN + at, client, IMDS, "GET", "/metadata/scheduledevents?api-version=2020-07-01", ["Host: 169.254.169.254", "User-Agent: python-requests/2.31", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive", "Metadata: true"],
                '{"DocumentIncarnation":1,"Events":[]}', "scheduled events", more=["Server: IMDS/150.870.65.1324"])
    for n, (name, agent) in enumerate([("curl", "curl/8.5.0"), ("curl as azsdk", "azsdk-python-identity/1.17.1 Python/3.11.2 (Linux)"), ("curl -A x", "x"), ("curl as java", "Java/17.0.12"), *BARE]):
        head = ["Host: 169.254.169.254", *([f"User-Agent: {agent}"] if isinstance(agent, str) else agent), "Accept: */*", "Metadata: true"]
        ask((2, 14, 23)[n % 3] * HOUR + 91 * n, head, f"THEFT {name}", "theft")
    return day


def mirror(seed):
    """Fifty hosts, a client or two each, that have been running for long."""
    day = Day("mirror_thefts", seed, {**RIGHT, "medium_last12_per_host_max": 1, "suggested_entries_max": 80})
    for n in range(50):
        for name in day.random.sample(list(AWS), 3):
            day.aws_client(f"10.50.0.{n + 10}", name, day.random.choice([0.9, 2, 5]) * HOUR)
    thefts(day, "10.50.0.17", ["curl as Boto3"])
    thefts(day, "10.50.0.31", ["curl -A x"], (18,))
    return day


def groups(seed):
    """Fifty hosts in five groups with a role each, many of which are replaced during the day."""
    day = Day("mirror_groups", seed, {**RIGHT, "medium_last12_per_host_max": 1, "suggested_entries_max": 80})
    # no neighbour speaks for a library under its own name: those are critical on each new host
    kinds = [day.random.sample([name for name in AWS if name not in ("unknown okhttp", "unknown axios")], 4) for _ in range(5)]
    for n in range(50):
        for address, first, end in [(10 + n, 0, 13 + n / 5 if n % 3 == 0 else 24), (100 + n, 13 + n / 5, 24)]:
            for name in kinds[n % 5] if first < end and (first == 0 or n % 3 == 0) else ():
                first_at = first * HOUR + day.random.uniform(5, 900)
                day.aws_client(f"10.50.1.{address}", name, day.random.choice([0.9, 2, 5]) * HOUR, first=first_at, until=end * HOUR, role=f"role-{n % 5}")
    for at, n, name in [(2, 17, "requests"), (14, 31, "curl -A x"), (23, 44, "curl as go")]:
        day.theft(at * HOUR, f"10.50.1.{10 + n}", name, f"role-{n % 5}")
    return day


def days(seed):
    known = [name for name in AWS if not name.startswith("unknown")]
    yield host("aws_known", seed, known, ["curl -A x", "curl as Boto3", "curl nameless", "requests as Boto3"])
    yield host("aws_unknown", seed, list(AWS), ["curl", "curl as go"])
    yield host("aws_quiet", seed, list(AWS), [])
    yield slow_host(seed)
    yield fast_host(seed)
    yield eks(seed, False)
    yield eks(seed, True)
    yield ecs(seed)
    yield gcp(seed)
    yield azure(seed)
    yield mirror(seed)
    yield groups(seed)
    yield eks_node_role(seed)
    yield ecs_again(seed)
    yield jobs(seed)
    yield tools(seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", default="*")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    labels = [day.write(args.folder) for day in days(args.seed) if fnmatch.fnmatch(day.name, args.only)]
    (args.folder / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))


if __name__ == "__main__":
    main()
