#!/usr/bin/env python3
"""Mock resolver (UDP+TCP 53 on 10.20.0.2 and 169.254.169.253). Usage: mock_dns.py LOG"""

import sys, json, time, re
from dnslib import RR, QTYPE, A, AAAA, CNAME, TXT, HTTPS, DNSRecord, RCODE, PTR
from dnslib.server import DNSServer, BaseResolver

LOG = sys.argv[1]
Z = {
    "metadata.google.internal": ["169.254.169.254"],
    "metadata.goog": ["169.254.169.254"],
    "instance-data.ec2.internal": ["169.254.169.254"],
    "metadata.tencentyun.com": ["169.254.0.23"],
    "static-imds.attacker.example": ["169.254.169.254"],
    "www.shop.example": ["10.20.1.10"],
    "docs.shop.example": ["10.20.1.10"],
    "cdn.partner.example": ["203.0.113.80"],
    "attacker.example": ["203.0.113.66"],
    "www.attacker.example": ["203.0.113.66"],
    "multi.attacker.example": ["203.0.113.80", "169.254.169.254"],
    "alibaba-imds.attacker.example": ["100.100.100.200"],
    "ecs-imds.attacker.example": ["169.254.170.2"],
    "metadata.google.internal.example.com": ["192.0.2.12"],
    "instance-data-science.example.com": ["192.0.2.12"],
    "metadata-google-internal.example.com": ["192.0.2.13"],
    "printer.local.example": ["169.254.7.7"],
    "api.partner.example": ["192.0.2.14"],
    "localname.ec2.internal": ["10.20.0.10"],
    "hexip.attacker.example": ["169.254.169.254"],
}
Z6 = {"imds6.attacker.example": ["fd00:ec2::254"], "mapped.attacker.example": ["::ffff:a9fe:a9fe"], "www.shop.example": ["fd00:21::10"]}
CN = {
    "cname.attacker.example": "metadata.google.internal",
    "chain.attacker.example": "chain2.attacker.example",
    "chain2.attacker.example": "static-imds.attacker.example",
    "long.label.chain.compression.attacker.example": "static-imds.attacker.example",
}
COUNT = {}


class Res(BaseResolver):
    def resolve(self, req, handler):
        rep = req.reply()
        ans = []
        found = False
        for q in req.questions:
            name = str(q.qname).rstrip(".")
            low = name.lower()
            t = QTYPE.get(q.qtype)
            ttl = 60
            cur = low
            owner = q.qname
            while cur in CN:
                found = True
                rep.add_answer(RR(owner, QTYPE.CNAME, rdata=CNAME(CN[cur] + "."), ttl=ttl))
                ans.append(CN[cur])
                owner = CN[cur] + "."
                cur = CN[cur]
                if t == "CNAME":
                    break
            a = list(Z.get(cur, []))
            a6 = list(Z6.get(cur, []))
            m = re.match(r"^(\d+\.\d+\.\d+\.\d+)\.nip\.example$", cur)
            if m:
                a = [m.group(1)]
            if re.match(r"^([a-z0-9-]+\.)?rebind[0-9]*\.attacker\.example$", cur):
                ttl = 0
                found = True
                if t in ("A", "ANY"):
                    COUNT[cur] = COUNT.get(cur, 0) + 1
                    a = ["203.0.113.80"] if COUNT[cur] == 1 else ["169.254.169.254"]
            if a or a6:
                found = True
            if t in ("A", "ANY"):
                for x in a:
                    rep.add_answer(RR(owner, QTYPE.A, rdata=A(x), ttl=ttl))
                    ans.append(x)
            if t in ("AAAA", "ANY"):
                for x in a6:
                    rep.add_answer(RR(owner, QTYPE.AAAA, rdata=AAAA(x), ttl=ttl))
                    ans.append(x)
            if t == "TXT" and cur == "static-imds.attacker.example":
                rep.add_answer(RR(owner, QTYPE.TXT, rdata=TXT("see http://169.254.169.254/latest/meta-data/"), ttl=ttl))
                ans.append("TXT")
            if t == "HTTPS" and cur in ("static-imds.attacker.example",):
                try:
                    rep.add_answer(*RR.fromZone("%s 60 IN HTTPS 1 . alpn=h2,http/1.1 ipv4hint=169.254.169.254" % owner))
                    ans.append("HTTPS ipv4hint=169.254.169.254")
                except Exception as e:
                    ans.append("HTTPS-ERR %s" % e)
            if t == "PTR" and low == "254.169.254.169.in-addr.arpa":
                found = True
                rep.add_answer(RR(owner, QTYPE.PTR, rdata=PTR("instance-data.ec2.internal."), ttl=ttl))
                ans.append("instance-data.ec2.internal")
            rec = {
                "ts": time.time(),
                "client": handler.client_address[0],
                "client_port": handler.client_address[1],
                "transport": handler.protocol,
                "name": name,
                "type": t,
                "answers": [],
            }
            rec["answers"] = list(ans)
            if not found:
                rep.header.rcode = RCODE.NXDOMAIN
            rec["rcode"] = RCODE.get(rep.header.rcode)
            with open(LOG, "a") as f:
                f.write(json.dumps(rec) + "\n")
        return rep


r = Res()
QUIET = type(
    "L",
    (),
    {
        k: staticmethod(lambda *a, **k: None)
        for k in ("log_prefix", "log_recv", "log_send", "log_request", "log_reply", "log_truncated", "log_error", "log_data")
    },
)()
import socketserver


class TcpH(socketserver.BaseRequestHandler):
    """several queries on one connection, as RFC 7766 asks"""

    protocol = "tcp"

    def handle(self):
        f = self.request.makefile("rb")
        self.request.settimeout(5)
        while True:
            try:
                n = f.read(2)
            except OSError:
                return
            if len(n) < 2:
                return
            m = f.read(int.from_bytes(n, "big"))
            try:
                rep = r.resolve(DNSRecord.parse(m), self).pack()
            except Exception:
                return
            self.request.sendall(len(rep).to_bytes(2, "big") + rep)


class TcpS(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


import threading

for ad in ("10.20.0.2", "169.254.169.253"):
    DNSServer(r, address=ad, port=53, tcp=False, logger=QUIET).start_thread()
    threading.Thread(target=TcpS((ad, 53), TcpH).serve_forever, daemon=True).start()
print("mock dns up", flush=True)
while True:
    time.sleep(3600)
