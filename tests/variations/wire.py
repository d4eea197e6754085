"""Packets and credentials that the variations are made of. All keys are made up."""
import base64
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "pcaps"))
from packets import ACK, FIN, PSH, SYN, address, checksum, ethernet, ip, pcap, tcp, udp  # noqa: E402,F401 (for the modules beside)

IMDS, APP, OTHER, USER = "169.254.169.254", "10.20.0.10", "203.0.113.99", "198.51.100.7"
PATH = "/latest/meta-data/iam/security-credentials/demo"
URL = f"http://{IMDS}{PATH}"


def rand(seed, length, alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):
    choose = random.Random(seed)
    return "".join(choose.choice(alphabet) for _ in range(length))


SECRET = rand("secret", 40)
SESSION = "IQoJb3JpZ2luX2Vj" + rand("session", 620) + "=="
KEY_ID = "ASIA" + rand("id", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
AWS = json.dumps({"Code": "Success", "LastUpdated": "2026-11-24T03:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET,
                  "Token": SESSION, "Expiration": "2026-11-24T12:00:00Z"}, indent=2)
GCP_TOKEN = "ya29.c." + rand("ya29", 190, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
GCP = json.dumps({"access_token": GCP_TOKEN, "expires_in": 3599, "token_type": "Bearer"})
GCP_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


AZURE_TOKEN = ".".join([url64(b'{"typ":"JWT","alg":"RS256","kid":"abc"}'), url64(json.dumps(
    {"aud": "https://vault.azure.net", "iss": "https://sts.windows.net/t/", "sub": "s", "exp": 1795510000}).encode()), rand(
    "signature", 342, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")])
AZURE = json.dumps({"access_token": AZURE_TOKEN, "client_id": "7c3e9a2e-0000-4000-8000-aaaaaaaaaaaa", "expires_in": "86399", "expires_on": "1795510000",
                    "resource": "https://vault.azure.net", "token_type": "Bearer"})
AZURE_PATH = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"


class Capture:
    """Packets in order; `wrap` turns an IP packet into a frame."""

    def __init__(self, wrap=ethernet, port=41000):
        self.records, self.time, self.port, self.wrap = [], 1_795_500_000.0, port, wrap

    def raw(self, packet):
        self.records.append((self.time, self.wrap(packet)))
        self.time += 0.0005

    def segment(self, source, destination, sport, dport, seq, ack, flags, payload=b""):
        self.raw(tcp(source, destination, sport, dport, seq, ack, flags, payload))

    def talk(self, client, server, port, turns, piece=1400):
        """One connection: each turn is ('c'|'s', bytes), or a function that is called there."""
        self.port += 1
        ends = {"c": (client, server, self.port, port), "s": (server, client, port, self.port)}
        sent = {"c": 1001, "s": 5001}
        other = {"c": "s", "s": "c"}
        self.segment(*ends["c"], 1000, 0, SYN)
        self.segment(*ends["s"], 5000, 1001, SYN | ACK)
        self.segment(*ends["c"], 1001, 5001, ACK)
        for turn in turns:
            if callable(turn):
                turn()
                continue
            who, data = turn
            for at in range(0, len(data), piece):
                part = data[at:at + piece]
                self.segment(*ends[who], sent[who], sent[other[who]], PSH | ACK, part)
                sent[who] += len(part)
                if at // piece % 10 == 9:
                    self.segment(*ends[other[who]], sent[other[who]], sent[who], ACK)
            self.segment(*ends[other[who]], sent[other[who]], sent[who], ACK)
        self.segment(*ends["c"], sent["c"], sent["s"], FIN | ACK)
        self.segment(*ends["s"], sent["s"], sent["c"] + 1, FIN | ACK)
        self.segment(*ends["c"], sent["c"] + 1, sent["s"] + 1, ACK)
        self.time += 0.05

    def datagram(self, source, destination, sport, dport, payload):
        self.raw(udp(source, destination, sport, dport, payload))

    def exchange(self, client, server, request, response, port=80, meanwhile=None):
        turns = [("c", request)] + ([meanwhile] if meanwhile else []) + [("s", response)]
        self.talk(client, server, port, turns)

    def fetch(self, provider="aws", agent="Java/17.0.2", client=APP, path=None):
        path, body, more, server = {
            "aws": (PATH, AWS, "", "Server: EC2ws\r\n"),
            "gcp": (GCP_PATH, GCP, "Metadata-Flavor: Google\r\n", "Metadata-Flavor: Google\r\nServer: Metadata Server for VM\r\n"),
            "azure": (AZURE_PATH, AZURE, "Metadata: true\r\n", "Server: IMDS/150.870.65.1854\r\n"),
        }[provider]
        request = f"GET {path or path_of(path, provider)} HTTP/1.1\r\nHost: {IMDS}\r\nUser-Agent: {agent}\r\n{more}\r\n".encode()
        kind = "application/json" if provider != "aws" else "text/plain"
        self.exchange(client, IMDS, request, answer(body.encode(), server, kind))

    def inbound(self, request, meanwhile=None, port=8080, response=None):
        self.exchange(USER, APP, request, response or answer(b"ok"), port, meanwhile)

    def write(self, path):
        pathlib.Path(path).write_bytes(pcap(self.records))


def path_of(path, provider):
    return {"aws": PATH, "gcp": GCP_PATH, "azure": AZURE_PATH}[provider]


def answer(body, headers="", kind="text/plain", status="200 OK"):
    return f"HTTP/1.1 {status}\r\n{headers}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def get(target, headers="", host="app.example"):
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0\r\n{headers}\r\n".encode("latin-1")


def post(body, kind, target="/import", headers="", host="app.example"):
    body = body.encode() if isinstance(body, str) else body
    head = f"POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0\r\nContent-Type: {kind}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked(body, size=700):
    parts = [body[at:at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def post_chunked(body, kind, headers="", target="/import"):
    head = f"POST {target} HTTP/1.1\r\nHost: app.example\r\nContent-Type: {kind}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
    return head.encode() + chunked(body)
