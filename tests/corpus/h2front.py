"""h2c front (hypercorn: HTTP/2 prior knowledge and Upgrade: h2c) on 169.254.169.254:8082, forwards to the mock on :80"""

import asyncio, http.client
from hypercorn.asyncio import serve
from hypercorn.config import Config


async def app(scope, receive, send):
    if scope["type"] != "http":
        return

    def go():
        c = http.client.HTTPConnection("169.254.169.254", 80, timeout=3)
        hd = {
            k.decode(): v.decode()
            for k, v in scope["headers"]
            if not k.startswith(b":") and k.lower() not in (b"host", b"connection", b"upgrade", b"http2-settings")
        }
        hd["Host"] = "169.254.169.254"
        p = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        c.request(scope["method"], p, headers=hd)
        r = c.getresponse()
        return r.status, r.getheaders(), r.read()

    st, h, b = await asyncio.get_running_loop().run_in_executor(None, go)
    await send(
        {
            "type": "http.response.start",
            "status": st,
            "headers": [(k.lower().encode(), v.encode()) for k, v in h if k.lower() not in ("connection", "transfer-encoding")],
        }
    )
    await send({"type": "http.response.body", "body": b})


c = Config()
c.bind = ["169.254.169.254:8082"]
asyncio.run(serve(app, c))
