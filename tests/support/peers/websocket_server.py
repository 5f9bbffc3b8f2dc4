"""A WebSocket service: echoes, says what it was asked when told `head`, closes when told `bye`. Prints its port."""

import asyncio
import json

from websockets.asyncio.server import serve


async def talk(socket):
    async for message in socket:
        if message == "bye":
            await socket.close(4000, "as asked")
        elif message == "head":
            head = {name.lower(): value for name, value in socket.request.headers.raw_items()}
            await socket.send(json.dumps({"path": socket.request.path, "head": head}))
        else:
            await socket.send(message)


def choose(_socket, offered):
    return "chat" if "chat" in offered else None


async def main():
    async with serve(talk, "127.0.0.1", 0, max_size=None, select_subprotocol=choose) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
