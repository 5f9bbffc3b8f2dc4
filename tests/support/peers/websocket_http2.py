"""A WebSocket on a stream of HTTP/2 (RFC 8441): argument 1 is the gateway's address, 2 the key. Prints the status of the answer, then
what the service sent back."""

import socket
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived
from h2.settings import SettingCodes

host, port = sys.argv[1].split(":")
wire = socket.create_connection((host, int(port)), timeout=20)
peer = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
peer.initiate_connection()
wire.sendall(peer.data_to_send())


def events():
    while True:
        for event in peer.receive_data(wire.recv(65536)):
            yield event
        wire.sendall(peer.data_to_send())


incoming = events()
for event in incoming:
    if isinstance(event, RemoteSettingsChanged):
        assert event.changed_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL].new_value == 1
        break
stream = peer.get_next_available_stream_id()
peer.send_headers(
    stream,
    [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", sys.argv[1]),
        (":path", "/chat/room"),
        ("sec-websocket-version", "13"),
        ("x-api-key", sys.argv[2]),
    ],
)
wire.sendall(peer.data_to_send())
for event in incoming:
    if isinstance(event, ResponseReceived):
        head = dict(event.headers)
        print(head[":status"], "connection" in head or "upgrade" in head or "sec-websocket-accept" in head, flush=True)
        if head[":status"] != "200":
            sys.exit()
        break
# One text frame, `hello`, masked with zeros.
peer.send_data(stream, b"\x81\x85\x00\x00\x00\x00hello")
wire.sendall(peer.data_to_send())
received = b""
for event in incoming:
    if isinstance(event, DataReceived):
        received += event.data
        if len(received) >= 7:
            break
print(received, flush=True)
# Until the other side ends it.
for event in incoming:
    if isinstance(event, DataReceived):
        print(event.data, flush=True)
        break
