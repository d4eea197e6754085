#!/usr/bin/env python3
"""Deliberately vulnerable demo web app (only ever run inside the test namespace). Usage: webapp.py LOG"""

import sys, json, time, re, socket, subprocess, ipaddress, threading
from urllib.parse import unquote, urlsplit
import requests, urllib3
from flask import Flask, request, Response

LOG = sys.argv[1]
app = Flask(__name__)
import logging

logging.getLogger("werkzeug").setLevel(logging.ERROR)


def log(**k):
    k["ts"] = time.time()
    k["client"] = request.headers.get("X-Real-IP") or request.remote_addr
    k["client_port"] = int(request.headers.get("X-Real-Port") or request.environ.get("REMOTE_PORT"))
    k["method"] = request.method
    k["path"] = request.full_path.rstrip("?")
    k["inner_port"] = request.environ.get("REMOTE_PORT")
    with open(LOG, "a") as f:
        f.write(json.dumps(k) + "\n")


def out(r):
    return Response(r.content, r.status_code, content_type=r.headers.get("content-type", "text/plain"))


def go(u, method="GET", headers=None, data=None, allow=True):
    return requests.request(method, u, headers=headers, data=data, timeout=4, allow_redirects=allow)


@app.route("/fetch")
def fetch():
    u = request.args.get("url", "")
    log(kind="ssrf", url=u)
    try:
        return out(go(u))
    except Exception as e:
        return Response("fetch failed: %s\n" % type(e).__name__, 502, content_type="text/plain")


@app.route("/fetch2")  # decodes once more (double-encoding bug)
def fetch2():
    u = unquote(request.args.get("url", ""))
    log(kind="ssrf", url=u)
    try:
        return out(go(u))
    except Exception as e:
        return Response("fetch failed: %s\n" % type(e).__name__, 502, content_type="text/plain")


@app.route("/image-proxy/<path:p>")  # url in the path
def imgproxy(p):
    log(kind="ssrf", url=p)
    return out(go(p if "//" in p else p.replace("http:/", "http://")))


@app.route("/api/preview", methods=["POST"])
def preview():
    j = request.get_json(force=True)
    log(kind="ssrf", url=j.get("url"))
    r = go(j["url"], j.get("method", "GET"), j.get("headers"), j.get("body"))
    return {"status": r.status_code, "body": r.text}


@app.route("/api/webhook", methods=["POST"])  # blind: the answer is not returned
def webhook():
    u = request.form.get("callback")
    log(kind="ssrf", url=u)
    try:
        r = go(u)
        return {"delivered": r.ok}
    except Exception as e:
        return {"delivered": False}, 502


@app.route("/thumb")  # url in a header
def thumb():
    u = request.headers.get("X-Source-Url", "")
    log(kind="ssrf", url=u)
    return out(go(u))


@app.route("/curlfetch")  # shells out to curl (gopher:// etc.)
def curlfetch():
    u = request.args.get("url", "")
    log(kind="ssrf", url=u)
    p = subprocess.run(["curl", "-s", "-m", "3", "-o", "-", u], capture_output=True, timeout=8)
    return Response(p.stdout, 200, content_type="text/plain")


@app.route("/ping")  # command injection
def ping():
    h = request.args.get("host", "")
    log(kind="rce", cmd=h)
    p = subprocess.run("echo pinging %s" % h, shell=True, capture_output=True, timeout=10)
    return Response(p.stdout, 200, content_type="text/plain")


def private(ip):
    ip = ipaddress.ip_address(ip)
    return ip.is_private and not str(ip).startswith("203.0.113.") or ip.is_link_local or ip.is_loopback


@app.route("/safe")  # refuses link-local and private addresses after resolving, pins nothing else
def safe():
    u = request.args.get("url", "")
    log(kind="ssrf", url=u)
    h = urlsplit(u).hostname or ""
    try:
        ips = [a[4][0] for a in socket.getaddrinfo(h, 80, type=socket.SOCK_STREAM)]
    except Exception:
        return Response("cannot resolve\n", 400, content_type="text/plain")
    if any(private(i) for i in ips):
        return Response("forbidden address\n", 403, content_type="text/plain")
    return out(go(u))


@app.route("/checked")  # time-of-check/time-of-use: resolves twice (DNS rebinding)
def checked():
    u = request.args.get("url", "")
    log(kind="ssrf", url=u)
    h = urlsplit(u).hostname or ""
    ips = [a[4][0] for a in socket.getaddrinfo(h, 80, family=socket.AF_INET, type=socket.SOCK_STREAM)]
    if any(private(i) for i in ips):
        return Response("forbidden address\n", 403, content_type="text/plain")
    return out(go(u))


@app.route("/xml", methods=["POST"])  # XXE
def xml():
    from lxml import etree

    log(kind="xxe", url=(re.search(rb'SYSTEM\s+"([^"]+)"', request.data) or [b"", b""])[1].decode())

    class Rz(etree.Resolver):
        def resolve(self, u, pid, ctx):
            if u.startswith("http"):
                return self.resolve_string(requests.get(u, timeout=4).text, ctx)

    ps = etree.XMLParser(resolve_entities=True, no_network=False, load_dtd=True)
    ps.resolvers.add(Rz())
    try:
        t = etree.fromstring(request.data, ps)
        return Response("".join(t.itertext()), 200, content_type="text/plain")
    except Exception as e:
        return Response("xml error %s\n" % e, 400, content_type="text/plain")


DOC = """<html><head><title>How to use the instance metadata service</title></head><body><h1>Instance metadata</h1>
<p>From inside the instance run <code>curl http://169.254.169.254/latest/meta-data/iam/security-credentials/ROLE</code>. With IMDSv2 first
<code>TOKEN=`curl -X PUT "http://169.254.169.254/latest/api/token" -H "X-aws-ec2-metadata-token-ttl-seconds: 21600"`</code>.</p>
<p>The answer looks like <pre>{ "Code" : "Success", "Type" : "AWS-HMAC", "AccessKeyId" : "ASIAEXAMPLE", "SecretAccessKey" : "EXAMPLE", "Token" : "EXAMPLE" }</pre></p>
<p>On Google Cloud use <code>http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token</code>, on Azure <code>http://169.254.169.254/metadata/identity/oauth2/token</code>.</p></body></html>
"""


@app.route("/docs/imds.html")
def docs():
    log(kind="page")
    return Response(DOC, 200, content_type="text/html")


@app.route("/search")
def search():
    log(kind="search")
    return Response("<html><body>3 results for your question</body></html>", 200, content_type="text/html")


@app.route("/api/wiki", methods=["POST", "PUT"])
def wiki():
    log(kind="wiki")
    return {"saved": True}


@app.route("/api/tickets", methods=["POST"])
def tick():
    log(kind="ticket")
    return {"id": 17}


@app.route("/latest/meta-data/", defaults={"p": ""})
@app.route("/latest/meta-data/<path:p>")
def fakemeta(p):
    log(kind="own-api")
    return Response("music catalogue entry %s\n" % p, 200, content_type="text/plain")


@app.route("/metadata/instance")
@app.route("/metadata/v1/songs")
@app.route("/computeMetadata/v1/docs")
def own():
    log(kind="own-api")
    return {"title": "song", "year": 1999}


@app.route("/oauth2/token", methods=["POST"])
def oauth():
    log(kind="oauth")
    return {"access_token": "eyJEXAMPLE.ordinary.oauth", "token_type": "Bearer", "expires_in": 3600}


@app.route("/sts", methods=["POST"])
def sts():
    log(kind="sts")
    return Response(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>EXAMPLE</SecretAccessKey><SessionToken>EXAMPLE</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        200,
        content_type="text/xml",
    )


@app.route("/blob/<int:n>")
def blob(n):
    return Response(bytes((i * 37 + n) & 255 for i in range(min(n, 200000))), 200, content_type="application/octet-stream")


@app.route("/")
def index():
    return Response("<html><body>demo shop " + "item " * 200 + "</body></html>", 200, content_type="text/html")


app.run("127.0.0.1", 5000, threaded=True)
