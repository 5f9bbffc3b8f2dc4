"""A small service over HTTP/1.1, for SDKs and clients of others: it speaks a little of what theirs speak. Prints its port.

What streams goes in lock-step: the next piece leaves once `POST /next` has come, and `GET /uploaded` waits for the next piece of
`/upload`; so what is held back on the way ends as a timeout. `GET /log` gives the head and body of every request so far.
"""

import itertools
import json
import queue
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LOG = []
NEXT = queue.Queue()
UPLOADED = queue.Queue()
CUSTOMERS = {}
PATIENCE = 20


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def pieces(self):
        """The body as it comes."""
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        elif length := int(self.headers.get("content-length", 0)):
            yield self.rfile.read(length)

    def answer(self, status, value, **fields):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, text in fields.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, kind, pieces):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        # The last caller may have asked for more than there was.
        while not NEXT.empty():
            NEXT.get()
        for number, piece in enumerate(pieces):
            if number:
                NEXT.get(timeout=PATIENCE)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def handle_request(self):
        address = urlsplit(self.path)
        if address.path == "/upload":
            size = 0
            for piece in self.pieces():
                size += len(piece)
                UPLOADED.put(len(piece))
            return self.answer(200, {"size": size})
        body = b"".join(self.pieces()).decode()
        seen = {
            "method": self.command,
            "path": self.path,
            "head": {name.lower(): text for name, text in self.headers.items()},
            "body": body,
        }
        if address.path == "/log":
            return self.answer(200, LOG)
        if address.path == "/next":
            NEXT.put(None)
            return self.answer(200, None)
        if address.path == "/uploaded":
            return self.answer(200, UPLOADED.get(timeout=PATIENCE))
        LOG.append(seen)
        if address.path == "/redirect":
            return self.answer(302, seen, location="https://elsewhere.example/a?b=c#d")
        if address.path == "/pieces":
            return self.stream("text/plain", [b"piece %d" % number for number in range(5)])
        if address.path.startswith("/v1/chat/"):
            return self.chat(json.loads(body))
        if address.path == "/v1/models":
            model = {"id": "small", "object": "model", "created": 1, "owned_by": "us"}
            return self.answer(200, {"object": "list", "data": [model]})
        if address.path.startswith("/v1/customers"):
            return self.customers(parse_qs(address.query), parse_qs(body))
        return self.answer(200, seen)

    def chat(self, asked):
        head = {"id": "chat-1", "created": 1, "model": asked["model"]}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "hello " + asked["messages"][0]["content"]}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
            return self.answer(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        events = []
        for number in range(5):
            choice = {"index": 0, "finish_reason": None, "delta": {"content": "token %d" % number}}
            events.append(json.dumps({**head, "object": "chat.completion.chunk", "choices": [choice]}))
        events.append("[DONE]")
        return self.stream("text/event-stream", [b"data: %s\n\n" % event.encode() for event in events])

    def customers(self, query, form):
        if self.command == "POST":
            if "email" not in form:
                fault = {"type": "invalid_request_error", "message": "no email", "param": "email"}
                return self.answer(400, {"error": fault})
            number = "cus_%d" % len(CUSTOMERS)
            CUSTOMERS[number] = {"id": number, "object": "customer", "email": form["email"][0]}
            return self.answer(200, CUSTOMERS[number])
        if "refused" in query.get("email", []):
            fault = {"type": "invalid_request_error", "message": "not by this service"}
            return self.answer(401, {"error": fault})
        after = query.get("starting_after", [None])[0]
        rest = iter(CUSTOMERS.values())
        if after:
            rest = itertools.islice(itertools.dropwhile(lambda one: one["id"] != after, rest), 1, None)
        rest = list(rest)
        limit = int(query["limit"][0])
        page = {"object": "list", "url": "/v1/customers", "data": rest[:limit], "has_more": len(rest) > limit}
        return self.answer(200, page)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_request


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
sys.stdout.close()
server.serve_forever()
