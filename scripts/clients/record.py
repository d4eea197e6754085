#!/usr/bin/env python3
"""Record how real clients ask metadata services: run them against a service on loopback, print the form of each request.

usage: record.py [--only PATTERN] [--own] CLIENTS.toml

CLIENTS.toml lists what to run (clients.toml beside this file is what the rows of src/data/clients.toml were recorded with):

    [[client]]
    name = "google-auth-python"
    run = "venv/bin/python -c 'import google.auth; …'"

Each command is run by the shell with the environment below, which leads the SDKs of AWS, Azure and Google to the service. The
service answers what they need; every secret in its answers is made up. With --own it stands at the services' own addresses and names, in a
network namespace made for it (needs root): for clients that cannot be led elsewhere. Printed is, for each form, the client, the request line,
the headers in their order and spelling with the values that belong to a shape, the User-Agent, and the targets asked for.
"""
import argparse
import collections
import fnmatch
import http.server
import json
import os
import pathlib
import socketserver
import subprocess
import sys
import tempfile
import threading
import tomllib

VALUED = {"accept", "accept-encoding", "connection"}
ROLE = {"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-11-16T00:00:00Z", "AccessKeyId": "ASIAEXAMPLEEXAMPLE00",
        "SecretAccessKey": "example/example/example/example/example0", "Token": "example-session-token", "Expiration": "2036-11-16T06:00:00Z"}
BEARER = {"access_token": "example-access-token", "token_type": "Bearer", "expires_in": 3599, "expires_on": "2094594800", "resource": "https://example.net/"}


def answer(path):
    """Body of the answer to a path, as bytes; None where there is no such thing."""
    bare = path.split("?")[0].replace("//", "/")
    if bare == "/latest/api/token":
        return b"example-metadata-token"
    if bare.rstrip("/").endswith("security-credentials"):
        return b"demo-role"
    if "security-credentials/" in bare or "/credentials" in bare:
        return json.dumps(ROLE).encode()
    if bare.endswith("/oauth2/token") or bare.endswith("/token"):
        return json.dumps(BEARER).encode()
    if bare.endswith("/identity"):
        return b"e30.e30.example"
    if "recursive=true" in path:
        return json.dumps({"email": "demo@example.net", "scopes": ["cloud-platform"], "aliases": ["default"]}).encode()
    if bare.endswith("document"):
        return json.dumps({"region": "eu-west-1", "accountId": "123456789012"}).encode()
    return b"example"


class Service(http.server.BaseHTTPRequestHandler):
    """Answers, and notes the form of each request."""

    protocol_version = "HTTP/1.1"
    seen = None

    def handle_one_request(self):
        super().handle_one_request()

    def respond(self):
        fields = self.headers.items()
        names = [f"{k}={v.replace(' ', '')}" if k.lower() in VALUED else k for k, v in fields]
        agent = next((v for k, v in fields if k.lower() == "user-agent"), None)
        Service.seen[f"{self.command} {self.request_version}", " ".join(names), agent].append(self.path)
        if length := int(self.headers.get("Content-Length") or 0):
            self.rfile.read(length)
        body = answer(self.path) or b""
        self.send_response(200)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Server", "EC2ws")
        self.send_header("Content-Type", "application/json" if body[:1] == b"{" else "text/plain")
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = respond

    def log_message(self, *_):
        pass


class Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


OWN = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200"]


def enter():
    """Run this script again where the services' addresses are this machine's."""
    os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv, "--entered"])


def prepare():
    for command in (["link", "set", "lo", "up"], *(["addr", "add", f"{address}/32", "dev", "lo"] for address in OWN)):
        subprocess.run(["ip", *command], check=True)
    with tempfile.NamedTemporaryFile("w") as hosts:
        hosts.write("127.0.0.1 localhost\n169.254.169.254 metadata.google.internal metadata.goog metadata\n")
        hosts.flush()
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)


def environment(port):
    if port == 80:
        return {**os.environ, "BASE": "http://169.254.169.254", "PORT": "80", "HOME": os.getcwd(), "AWS_REGION": "eu-west-1", "OWN": "1"}
    base = f"http://127.0.0.1:{port}"
    here = {
        "BASE": base, "PORT": str(port),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": base + "/", "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1",
        "GCE_METADATA_HOST": f"127.0.0.1:{port}", "GCE_METADATA_ROOT": f"127.0.0.1:{port}", "GCE_METADATA_IP": f"127.0.0.1:{port}",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": base, "CLOUDSDK_CONFIG": "/nonexistent", "HOME": os.getcwd(),
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GOOGLE_", "AZURE_", "http", "HTTP", "all_proxy", "ALL_PROXY"))}
    return {**kept, **here}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", type=pathlib.Path)
    parser.add_argument("--only", default="*")
    parser.add_argument("--own", action="store_true", help="at the services' own addresses")
    parser.add_argument("--entered", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.own and not args.entered:
        enter()
    if args.own:
        prepare()
    server = Threads(("0.0.0.0", 80) if args.own else ("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = environment(server.server_address[1])
    for client in tomllib.loads(args.clients.read_text())["client"]:
        if not fnmatch.fnmatch(client["name"], args.only):
            continue
        Service.seen = collections.defaultdict(list)
        try:
            done = subprocess.run(client["run"], shell=True, env={**env, **client.get("env", {})}, capture_output=True, text=True, timeout=60)
            failed = "" if Service.seen else done.stderr.strip().splitlines()[-1:]
        except subprocess.TimeoutExpired:
            failed = "timed out"
        print(f"# {client['name']}" + (f"  {failed}" if failed else ""))
        for (line, names, agent), targets in Service.seen.items():
            print(f"  {line} | {names} | {agent} | {' '.join(dict.fromkeys(targets))[:300]}")


if __name__ == "__main__":
    main()
