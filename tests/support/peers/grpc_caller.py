"""A caller of gRPC that tries out every kind of call through the gateway. Arguments: its address, a key, what to try.

Ends with 0 if all went as it should; else says what did not.
"""

import queue
import sys
import time

import grpc

ADDRESS, KEY, PART = sys.argv[1:4]
METADATA = (("x-api-key", KEY),)
CHANNEL = grpc.insecure_channel(ADDRESS)


def call(kind, name):
    return getattr(CHANNEL, kind)("/test.Peer/" + name)


UNARY = call("unary_unary", "Unary")
SERVER_STREAM = call("unary_stream", "ServerStream")
CLIENT_STREAM = call("stream_unary", "ClientStream")
BIDI = call("stream_stream", "Bidi")


def same(got, wanted):
    assert got == wanted, "%r instead of %r" % (got, wanted)


def fails(code, act):
    try:
        act()
    except grpc.RpcError as fault:
        same(fault.code(), code)
        return fault
    raise AssertionError("no %s" % code)


def unary():
    reply, made = UNARY.with_call(b"hello", metadata=METADATA)
    same(reply, b"hello for acme")
    same(dict(made.initial_metadata()).get("x-initial"), "1")
    trailing = dict(made.trailing_metadata())
    same((trailing.get("x-trailing"), trailing.get("x-raw-bin")), ("2", b"\x00\xff"))
    large = b"x" * 3_000_000
    same(UNARY(large, metadata=METADATA)[: len(large)], large)
    fault = fails(grpc.StatusCode.FAILED_PRECONDITION, lambda: UNARY(b"fail", metadata=METADATA))
    same(fault.details(), "not today")
    same(dict(fault.trailing_metadata()).get("x-why"), "because")


def streams():
    same(list(SERVER_STREAM(b"1000", metadata=METADATA)), [b"%d" % n for n in range(1000)])
    same(CLIENT_STREAM((b"x" * 1000 for _ in range(1000)), metadata=METADATA), b"1000000")
    # Each side waits for the other: nothing may be held back.
    waiting = queue.Queue()
    replies = BIDI(iter(waiting.get, None), metadata=METADATA)
    for number in range(100):
        waiting.put(b"%d" % number)
        same(next(replies), b"re: %d" % number)
    waiting.put(None)
    same(list(replies), [])


def deadline():
    left = int(UNARY(b"deadline", metadata=METADATA, timeout=100))
    assert 90 <= left <= 100, left
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: UNARY(b"slow", metadata=METADATA, timeout=0.5))


def cancel():
    ticks = SERVER_STREAM(b"endless", metadata=METADATA)
    same(next(ticks), b"tick")
    ticks.cancel()
    fails(grpc.StatusCode.CANCELLED, lambda: list(ticks))


def gone():
    """Somebody ends the service while this waits."""
    ticks = SERVER_STREAM(b"endless", metadata=METADATA)
    same(next(ticks), b"tick")
    print("ticking", flush=True)
    try:
        for _ in ticks:
            pass
    except grpc.RpcError as fault:
        assert fault.code() != grpc.StatusCode.OK, fault
        return
    raise AssertionError("an end that looks like a good one")


began = time.monotonic()
{"unary": unary, "streams": streams, "deadline": deadline, "cancel": cancel, "gone": gone}[PART]()
CHANNEL.close()
