"""A service of gRPC with every kind of call, by generic handlers: messages are bytes. Argument: its address.

Says on standard output, a line each, what became of calls that did not end well.
"""

import sys
import threading
import time
from concurrent import futures

import grpc


def note(text):
    print(text, flush=True)


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    if request == b"fail":
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
    if request == b"slow":
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(20)
        note("slow call ended, active: %s" % context.is_active())
        return b"late"
    if request == b"deadline":
        return b"%d" % int(context.time_remaining())
    context.send_initial_metadata((("x-initial", "1"),))
    context.set_trailing_metadata((("x-trailing", "2"), ("x-raw-bin", b"\x00\xff")))
    return request + b" for " + metadata.get("x-consumer-username", "nobody").encode()


def server_stream(request, context):
    if request == b"endless":
        context.add_callback(lambda: note("endless call ended"))
        while context.is_active():
            yield b"tick"
            time.sleep(0.01)
        return
    for number in range(int(request)):
        yield b"%d" % number


def client_stream(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def bidi(requests, context):
    for request in requests:
        yield b"re: " + request


def raw(kind, behaviour):
    return getattr(grpc, kind + "_rpc_method_handler")(behaviour)


def main():
    server = grpc.server(futures.ThreadPoolExecutor(8))
    handlers = {
        "Unary": raw("unary_unary", unary),
        "ServerStream": raw("unary_stream", server_stream),
        "ClientStream": raw("stream_unary", client_stream),
        "Bidi": raw("stream_stream", bidi),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peer", handlers),))
    server.add_insecure_port(sys.argv[1])
    server.start()
    note("ready")
    server.wait_for_termination()


main()
