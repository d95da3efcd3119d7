# Copyright (C) the ngx_ws_bus_module authors

# Python's "websockets" against a server: TAP lines without numbers.

import asyncio
import ssl
import sys
import urllib.request

import websockets

port, tls_port = sys.argv[1:3]

LARGE = "Grüße, 世界 🌍 " * 4000
BINARY = bytes(i * 7 % 256 for i in range(50000))


def report(good, name, got=None):
    print(("ok" if good else "not ok") + " - " + name)

    if not good:
        print("# got " + repr(got)[:200])


def is_(got, expected, name):
    report(got == expected, name, got)


def http(method, name, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/pub/ws/{name}", data=body, method=method)

    return urllib.request.urlopen(request).status


async def closed(ws):
    try:
        while True:
            await asyncio.wait_for(ws.recv(), 20)

    except websockets.exceptions.ConnectionClosed as e:
        return e.rcvd.code if e.rcvd else None, e.rcvd.reason if e.rcvd else ""


async def talk(name, url, **options):
    async with websockets.connect(f"{url}/ws/{name}", **options) as ws, \
               websockets.connect(f"{url}/ws/{name}", **options) as other:

        await ws.send("hello")
        is_(await ws.recv(), "hello", f"{name}: own message")
        is_(await other.recv(), "hello", f"{name}: delivered")

        await ws.send(LARGE)
        is_(await other.recv(), LARGE, f"{name}: large text")

        await ws.send(BINARY)
        is_(await other.recv(), BINARY, f"{name}: binary")

        await ws.send(["first, ", "second, ", "third"])
        is_(await other.recv(), "first, second, third", f"{name}: fragments")

        await ws.send("")
        is_(await other.recv(), "", f"{name}: empty message")

        await asyncio.wait_for(await ws.ping("are you there"), 20)
        report(True, f"{name}: pong")

        status = await asyncio.to_thread(http, "POST", name, b"posted")
        is_(status, 201, f"{name}: POST")
        is_(await other.recv(), "posted", f"{name}: POST delivered")

        await ws.close(4321, "enough")
        is_(ws.close_code, 4321, f"{name}: close of the client")

        await asyncio.to_thread(http, "DELETE", name)
        is_(await closed(other), (4004, "channel deleted"),
            f"{name}: close of the server")


async def main():
    url = f"ws://127.0.0.1:{port}"

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    await talk("plain", url, compression=None)
    await talk("deflate", url)
    await talk("tls", f"wss://127.0.0.1:{tls_port}", ssl=context)

    async with websockets.connect(f"{url}/ws/big") as ws:
        is_([e.name for e in ws.extensions], ["permessage-deflate"],
            "deflate is negotiated")
        await ws.send("x" * 2000000)
        is_((await closed(ws))[0], 1009, "too big")

    async with websockets.connect(f"{url}/listen/a") as ws:
        await ws.send("x")
        is_((await closed(ws))[0], 4003, "may not publish")

    try:
        async with websockets.connect(f"{url}/ws/"):
            report(False, "an empty channel is refused")

    except websockets.exceptions.InvalidStatusCode as e:
        is_(e.status_code, 404, "an empty channel is refused")

    print("done")


asyncio.run(main())
