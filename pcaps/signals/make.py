#!/usr/bin/env python3
"""Writes the captures of this folder: one small conversation each, to show one signal. All keys are fake.

usage: make.py        writes CASE/input.pcap beside this file
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent))
from packets import describe, ethernet, pcap, tcp  # noqa: E402

IMDS, VM, OTHER = "169.254.169.254", "10.20.0.10", "10.20.0.11"
KEYS = json.dumps({
    "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAEXAMPLE000DEMO01", "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "Token": "IQoJb3JpZ2luX2VjEEXAMPLESESSIONTOKEN0123456789", "Expiration": "2026-11-24T12:00:00Z",
}, indent=2)


class Capture:
    def __init__(self):
        self.records, self.time, self.port = [], 1_795_500_000.0, 40000

    def packet(self, source, destination, ttl, sport, dport, seq, ack, flags, payload=b""):
        self.records.append((self.time, ethernet(tcp(source, destination, sport, dport, seq, ack, flags, payload, ttl))))
        self.time += 0.001

    def exchange(self, request, response, client=VM, ttl=64, lose=None):
        """One connection with one exchange; `lose`: number of the answer's segment (of 200 bytes) that is not captured."""
        self.port += 1
        port, seq, ack = self.port, 1000, 5000
        to, back = (client, IMDS, ttl, port, 80), (IMDS, client, 64, 80, port)
        self.packet(*to, seq, 0, 0x02)
        self.packet(*back, ack, seq + 1, 0x12)
        seq, ack = seq + 1, ack + 1
        self.packet(*to, seq, ack, 0x10)
        self.packet(*to, seq, ack, 0x18, request)
        seq += len(request)
        for number, at in enumerate(range(0, len(response), 200)):
            piece = response[at:at + 200]
            if number != lose:
                self.packet(*back, ack, seq, 0x18, piece)
            ack += len(piece)
        self.packet(*to, seq, ack, 0x11)
        self.packet(*back, ack, seq + 1, 0x11)
        self.packet(*to, seq + 1, ack + 1, 0x10)
        self.time += 0.05

    def write(self, case, what):
        folder = HERE / case
        folder.mkdir(exist_ok=True)
        (folder / "input.pcap").write_bytes(pcap(self.records))
        describe(folder, f"# {case.replace('-', ' ')}\n\n{what}\n\nWritten by `../make.py`; all keys are fake.\n")


def get(path, *headers, host=IMDS, agent="curl/8.5.0"):
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *([f"User-Agent: {agent}"] if agent else []), "Accept: */*", *headers, "", ""]
    return "\r\n".join(lines).encode()


def put_token(ttl=21600, agent="curl/8.5.0"):
    lines = ["PUT /latest/api/token HTTP/1.1", f"Host: {IMDS}", f"User-Agent: {agent}", f"X-aws-ec2-metadata-token-ttl-seconds: {ttl}",
             "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode()


def answer(body, status="200 OK", server="EC2ws", *headers):
    lines = [f"HTTP/1.1 {status}", f"Server: {server}", "Content-Type: text/plain", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body.encode()


def token(text, ttl=21600):
    return answer(text, "200 OK", "EC2ws", f"X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {ttl}")


ROLE = "/latest/meta-data/iam/security-credentials/demo-web-role"
HEADER = "X-aws-ec2-metadata-token: {}"
FIRST, SECOND = "AQAEAEXAMPLETOKENEXAMPLETOKENEXAMPLETOKEN0001==", "AQAEAEXAMPLETOKENEXAMPLETOKENEXAMPLETOKEN0002=="


def main():
    shared = Capture()
    shared.exchange(put_token(), token(FIRST))
    shared.exchange(get(ROLE, HEADER.format(FIRST)), answer(KEYS), client=OTHER)
    shared.write("token-shared", "A session token is issued to one client and used by another: signal `token-shared`.")

    expired = Capture()
    expired.exchange(put_token(5), token(SECOND, 5))
    expired.time += 30
    expired.exchange(get(ROLE, HEADER.format(SECOND)), answer("", "401 Unauthorized"))
    expired.write("token-expired", "A session token of five seconds is used after thirty: signal `token-expired`; the service refuses.")

    clouds = Capture()
    clouds.exchange(get(ROLE), answer(KEYS))
    clouds.exchange(get("/computeMetadata/v1/instance/service-accounts/default/token", "Metadata-Flavor: Google"), answer("", "404 Not Found"))
    clouds.exchange(get("/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/", "Metadata: true"),
                    answer("", "404 Not Found"))
    clouds.write("multi-cloud", "One host speaks the protocols of three clouds: signal `multi-cloud`.")

    hop = Capture()
    hop.exchange(get(ROLE), answer(KEYS), ttl=63)
    hop.write("extra-hop", "The request's TTL is one below 64, as behind a container bridge: signal `extra-hop`.")

    gap = Capture()
    gap.exchange(get(ROLE), answer(KEYS), lose=1)
    gap.write("stream-gap", "A segment in the middle of the answer was not captured: signal `stream-gap`.")

    impossible = Capture()
    for path in ("/latest/user-data/iam/security-credentials/", "/latest/meta-data/iam/security-credentials/dummy"):
        impossible.exchange(get(path, agent="Mozilla/5.0 (compatible; scanner)"), answer("", "404 Not Found"))
    impossible.write("impossible-path", "Paths that no service has, as word lists ask for them: signal `impossible-path`.")

    claimed = Capture()
    claimed.exchange(get(ROLE, agent="Boto3/1.34.0 Python/3.11 Linux Botocore/1.34.0"), answer(KEYS))
    claimed.exchange(get("/latest/user-data", agent="Boto3/1.34.0 Python/3.11 Linux Botocore/1.34.0"), answer("#!/bin/sh\necho hello\n"))
    claimed.write("claimed-identity-mismatch", "A User-Agent of boto3 asks for the role's credentials without token and list, and for user data: signal `claimed-identity-mismatch`.")


if __name__ == "__main__":
    main()
