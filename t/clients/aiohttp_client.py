# Copyright (C) the ngx_ws_bus_module authors

# Python's "aiohttp" against a server: TAP lines without numbers.

import asyncio
import sys

import aiohttp

port, tls_port = sys.argv[1:3]

LARGE = "Grüße, 世界 🌍 " * 4000
BINARY = bytes(i * 7 % 256 for i in range(50000))


def report(good, name, got=None):
    print(("ok" if good else "not ok") + " - " + name)

    if not good:
        print("# got " + repr(got)[:200])


def is_(got, expected, name):
    report(got == expected, name, got)


async def talk(session, name, url, **options):
    ws = await session.ws_connect(f"{url}/ws/{name}", **options)
    other = await session.ws_connect(f"{url}/ws/{name}", **options)

    await ws.send_str("hello")
    is_(await ws.receive_str(timeout=20), "hello", f"{name}: own message")
    is_(await other.receive_str(timeout=20), "hello", f"{name}: delivered")

    await ws.send_str(LARGE)
    is_(await other.receive_str(timeout=20), LARGE, f"{name}: large text")

    await ws.send_bytes(BINARY)
    is_(await other.receive_bytes(timeout=20), BINARY, f"{name}: binary")

    await ws.send_str("")
    is_(await other.receive_str(timeout=20), "", f"{name}: empty message")

    # bytes would be sent as application/octet-stream, and come as binary

    posted = await session.post(f"http://127.0.0.1:{port}/pub/ws/{name}",
                                data="posted")
    is_(posted.status, 201, f"{name}: POST")
    is_((await posted.json())["subscribers"], 2, f"{name}: subscribers")
    is_(await other.receive_str(timeout=20), "posted",
        f"{name}: POST delivered")

    await ws.close(code=4321, message=b"enough")
    is_(ws.close_code, 4321, f"{name}: close of the client")

    deleted = await session.delete(f"http://127.0.0.1:{port}/pub/ws/{name}")
    is_(deleted.status, 204, f"{name}: DELETE")

    message = await other.receive(timeout=20)
    is_((message.type, message.data, message.extra),
        (aiohttp.WSMsgType.CLOSE, 4004, "channel deleted"),
        f"{name}: close of the server")


async def main():
    url = f"http://127.0.0.1:{port}"

    async with aiohttp.ClientSession() as session:
        await talk(session, "plain", url)
        await talk(session, "deflate", url, compress=15)
        await talk(session, "tls", f"https://127.0.0.1:{tls_port}", ssl=False)

        ws = await session.ws_connect(f"{url}/listen/a")
        await ws.send_str("x")
        message = await ws.receive(timeout=20)
        is_(message.data, 4003, "may not publish")

        try:
            await session.ws_connect(f"{url}/ws/")
            report(False, "an empty channel is refused")

        except aiohttp.WSServerHandshakeError as e:
            is_(e.status, 404, "an empty channel is refused")

    print("done")


asyncio.run(main())
