"""Reads requests as h11 does. In: each as its length in decimal, a line feed, its bytes. Out: for each its method, target,
length of body, and whether that was all, separated by spaces."""

import sys

import h11


def read(raw):
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    request, body = None, b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            rest, _ = connection.trailing_data
            return f"{request.method.decode()} {request.target.decode()} {len(body)} {rest == b''}"
        else:
            return f"{event!r}"


while length := sys.stdin.buffer.readline():
    try:
        print(read(sys.stdin.buffer.read(int(length))))
    except h11.RemoteProtocolError as fault:
        print(f"refused: {fault}")
