"""Talks to a WebSocket service through the gateway: argument 1 is its address, 2 the key. Prints one line of JSON for each thing
that was tried."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

ADDRESS, KEY = sys.argv[1], sys.argv[2]
URL = f"ws://{ADDRESS}/chat/room?a=b"
HEADER = {"X-API-Key": KEY}


def tell(what, value):
    print(json.dumps([what, value]), flush=True)


async def sizes():
    async with connect(URL, additional_headers=HEADER, max_size=None) as socket:
        for size in [0, 1, 125, 126, 65535, 65536, 2_000_000]:
            message = b"x" * size
            await socket.send(message)
            if await socket.recv() != message:
                tell("sizes", f"{size} came back otherwise")
                return
        await socket.ping()
        tell("sizes", "ok")
        await socket.send("bye")
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            tell("close", [closed.rcvd.code, closed.rcvd.reason])


async def offered(what, protocols):
    async with connect(URL, subprotocols=protocols) as socket:
        await socket.send("head")
        said = json.loads(await socket.recv())
        tell(what, [socket.subprotocol, said["head"].get("sec-websocket-protocol")])


async def main():
    await sizes()
    await offered("native", ["chat", KEY])
    await offered("prefixed", ["keygate.api-key." + KEY, "chat"])
    await offered("named", ["keygate.api-key", "keygate.api-key." + KEY])
    await offered("alone", [KEY])
    async with connect(URL + "&api_key=" + KEY) as socket:
        await socket.send("head")
        tell("seen", json.loads(await socket.recv()))
    try:
        async with connect(URL):
            tell("keyless", "open")
    except InvalidStatus as refused:
        tell("keyless", [refused.response.status_code, json.loads(refused.response.body)["code"]])


asyncio.run(main())
