#!/usr/bin/env python3

# Copyright (C) the ngx_ws_bus_module authors

"""A client of ws-bus.v1.json: docs/subprotocol.md, in one file to copy from.

    client.py ws://127.0.0.1:8080/ws room:7 prices.eur

prints what comes on these channels, one line each; with --publish it publishes
the lines of its input instead, to the first one.  It comes back when a
connection ends, goes on where it was, sends again what was not answered, and
fetches what it was too slow for.  What is lost for good is told on standard
error.

It needs the package "websockets" (Debian: python3-websockets).
"""

import argparse
import asyncio
import json
import random
import sys
import uuid

import websockets

PROTOCOL = "ws-bus.v1.json"

# the client is wrong, or not wanted: to come back would change nothing
FINAL = {1002, 1003, 1007, 1008, 1009, 4001, 4003, 4010}


class Refused(Exception):
    pass


class Channel:
    """Where a subscription is: the last message that it has been given."""

    def __init__(self, name, epoch=None, seq=0):
        self.name = name
        self.epoch = epoch
        self.seq = seq
        self.until = 0        # a gap is being filled, up to this message
        self.later = None     # and what has come behind it


class Client:
    """on_message(channel, message) gets each message once and in order;
    on_lost(channel, first, last) is called where some are missing."""

    def __init__(self, url, on_message, on_lost):
        self.url = url
        self.on_message = on_message
        self.on_lost = on_lost
        self.channels = {}
        self.requests = {}    # publications not yet answered, by id
        self.pages = {}       # "history" not yet answered: id, channel
        self.last_id = 0
        self.ws = None

    def subscribe(self, name, epoch=None, seq=0):
        """Before run().  epoch and seq: where an earlier run has ended."""
        self.channels[name] = Channel(name, epoch, seq)

    async def publish(self, name, **payload):
        """payload: data=, text= or base64=.  Returns the server's answer.

        With its key a request can be repeated: it is carried out once."""
        self.last_id += 1
        request = {"type": "publish", "id": self.last_id, "channel": name,
                   "key": str(uuid.uuid4()), **payload}
        answer = asyncio.get_running_loop().create_future()
        self.requests[self.last_id] = request, answer
        await self.send(request)
        return await answer

    async def run(self):
        delay = 0.5

        while True:
            try:
                async with websockets.connect(
                        self.url, subprotocols=[PROTOCOL]) as ws:
                    if ws.subprotocol != PROTOCOL:
                        raise Refused("the server does not speak " + PROTOCOL)

                    await self.begin(ws)

                    async for text in ws:
                        delay = 0.5
                        await self.handle(json.loads(text))

            except websockets.ConnectionClosed as e:
                if e.code in FINAL:
                    raise Refused(f"closed with {e.code}: {e.reason}") from e

            except (OSError, asyncio.TimeoutError,
                    websockets.WebSocketException) as e:
                answer = getattr(e, "response", e)
                status = getattr(answer, "status_code", 503)

                if 400 <= status < 500 and status != 429:
                    raise Refused(f"refused with {status}") from e

            finally:
                self.ws = None

            # not all clients at the same moment
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(delay * 2, 30)

    async def begin(self, ws):
        self.ws = ws
        self.pages.clear()

        for channel in self.channels.values():
            channel.later = None
            request = {"type": "subscribe", "channel": channel.name}

            if channel.epoch is not None:
                request.update(epoch=channel.epoch, seq=channel.seq)

            await self.send(request)

        for request, _ in list(self.requests.values()):
            await self.send(request)

    async def send(self, request):
        if self.ws is None:
            return

        try:
            await self.ws.send(json.dumps(request))
        except websockets.ConnectionClosed:
            pass              # begin() sends it again

    async def handle(self, m):
        kind = m["type"]

        if kind == "published":
            self.answer(m).set_result(m)

        elif kind == "history":
            await self.page(self.pages.pop(m["id"]), m)

        elif kind == "error":
            await self.error(m)

        elif kind in ("subscribed", "gap", "message"):
            channel = self.channels.get(m["channel"])

            if channel is None:
                return        # the location's own channel

            if channel.later is not None:
                channel.later.append(m)
            else:
                await getattr(self, kind)(channel, m)

    def answer(self, m):
        return self.requests.pop(m["id"])[1]

    async def error(self, m):
        reason = Refused(f'{m["code"]}: {m["reason"]}')

        if m.get("id") in self.pages:
            # no history here: the gap stays
            await self.page(self.pages.pop(m["id"]),
                            {"messages": [], "more": False})

        elif m.get("id") in self.requests:
            self.answer(m).set_exception(reason)

        else:
            raise reason

    async def subscribed(self, channel, m):
        known = channel.epoch

        if known != m["epoch"]:
            if known is not None:
                # another history: nothing is known of what was in between
                self.on_lost(channel.name, None, None)

            channel.seq = 0 if known else m["seq"]
            channel.epoch = m["epoch"]

        if m.get("recovered") is False:
            # the stream is live; what is left of the rest comes first
            await self.gap(channel, {"to": m["seq"]})

    async def message(self, channel, m):
        seq = m.get("seq")

        if seq is not None:
            if seq <= channel.seq:
                return

            channel.seq = seq

        self.on_message(channel.name, m)

    async def gap(self, channel, m):
        if "to" not in m:
            # not kept: so many, and there is no way to get them
            self.on_lost(channel.name, None, m["count"])

        elif m["to"] > channel.seq:
            channel.until = m["to"]
            channel.later = []
            await self.fetch(channel)

    async def fetch(self, channel):
        self.last_id += 1
        self.pages[self.last_id] = channel

        await self.send({"type": "history", "id": self.last_id,
                         "channel": channel.name, "seq": channel.seq,
                         "limit": channel.until - channel.seq})

    async def page(self, channel, m):
        for message in m["messages"]:
            if message["seq"] > channel.until:
                break

            if message["seq"] > channel.seq + 1:
                self.on_lost(channel.name, channel.seq + 1,
                             message["seq"] - 1)

            await self.message(channel, message)

        if m["more"] and m["messages"]:
            # unless what comes next is behind the gap
            if m["messages"][-1]["seq"] < channel.until:
                await self.fetch(channel)
                return

        if channel.seq < channel.until:
            self.on_lost(channel.name, channel.seq + 1, channel.until)
            channel.seq = channel.until

        later, channel.later = channel.later, None

        for waiting in later:
            await self.handle(waiting)


async def publish_lines(client, name):
    loop = asyncio.get_running_loop()

    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)

        if line == "":
            return

        answer = await client.publish(name, text=line.rstrip("\n"))
        print("published", answer.get("seq", "-"), flush=True)


async def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("channel", nargs="+")
    parser.add_argument("--publish", action="store_true")
    args = parser.parse_args()

    def show(name, m):
        payload = m.get("text", m.get("base64", json.dumps(m.get("data"))))
        print(name, m.get("seq", "-"), payload, flush=True)

    def lost(name, first, last):
        print("lost", name, first, last, file=sys.stderr, flush=True)

    client = Client(args.url, show, lost)

    if args.publish:
        # a publisher alone: it does not have to listen
        running = asyncio.create_task(client.run())
        lines = asyncio.create_task(publish_lines(client, args.channel[0]))
        done, _ = await asyncio.wait([running, lines],
                                     return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()

    else:
        for name in args.channel:
            client.subscribe(name)

        await client.run()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Refused as e:
        sys.exit(f"client.py: {e}")
    except KeyboardInterrupt:
        pass
