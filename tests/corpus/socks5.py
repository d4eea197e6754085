import asyncio, sys, socket, struct


async def pipe(r, w):
    try:
        while d := await r.read(65536):
            w.write(d)
            await w.drain()
    except Exception:
        pass
    finally:
        w.close()


async def h(r, w):
    v, n = await r.readexactly(2)
    await r.readexactly(n)
    w.write(b"\x05\x00")
    v, c, _, t = await r.readexactly(4)
    if t == 1:
        a = socket.inet_ntoa(await r.readexactly(4))
    elif t == 3:
        a = (await r.readexactly((await r.readexactly(1))[0])).decode()
    else:
        a = socket.inet_ntop(socket.AF_INET6, await r.readexactly(16))
    p = struct.unpack(">H", await r.readexactly(2))[0]
    r2, w2 = await asyncio.open_connection(a, p)
    w.write(b"\x05\x00\x00\x01" + socket.inet_aton("10.20.0.10") + b"\x00\x00")
    await asyncio.gather(pipe(r, w2), pipe(r2, w))


async def m():
    s = await asyncio.start_server(h, sys.argv[1], int(sys.argv[2]))
    await s.serve_forever()


asyncio.run(m())
