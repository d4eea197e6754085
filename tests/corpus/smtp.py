import socketserver


class H(socketserver.StreamRequestHandler):
    def handle(s):
        w = lambda t: s.wfile.write(t + b"\r\n")
        w(b"220 mail.shop.example ESMTP")
        data = False
        for l in s.rfile:
            l = l.rstrip(b"\r\n")
            if data:
                if l == b".":
                    data = False
                    w(b"250 queued")
                continue
            c = l[:4].upper()
            if c == b"DATA":
                data = True
                w(b"354 go")
            elif c == b"QUIT":
                w(b"221 bye")
                return
            elif c == b"EHLO":
                w(b"250 mail.shop.example")
            else:
                w(b"250 ok")


class S(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


S(("10.20.0.2", 2525), H).serve_forever()
