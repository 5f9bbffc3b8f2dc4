#!/usr/bin/env python3
"""What a request costs the release build, counted and not timed: `cargo build --release`, then

    benches/instructions.py [KIND...]             compare with benches/instructions.toml; exit code 1 if a figure has grown
    benches/instructions.py --accept [KIND...]    write what was measured into that file

valgrind counts instructions outside the kernel, calls of the allocator, system calls and readings of the clock (which are no
system calls without valgrind). A kind of request is sent by h2load over 64 connections that are kept, and the gateway has one
thread and waits for everybody else, so that it always has something to do. A short and a long load are counted; their difference
is what the requests between them cost. That is done until two tries agree, since now and then work of the gateway's own falls into
one of them, and a few times more if that is too much, since a machine that is busy with something else lets the gateway sleep more
often. Figures are the same on all machines with AVX2 and the same libc. Needs valgrind, h2load (nghttp2-client) and openssl."""

import argparse
import http.client
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

from common.ports import free_port

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BINARY = os.environ.get("KEYGATE_BIN") or os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "keygate")
FIGURES = os.path.join(HERE, "instructions.toml")
KEY = "a-key-of-elsewhere-0123456789abcdefghijk"

CONNECTIONS, SHORT, LONG = 64, 128, 640
# Shares by which the instructions of two tries may differ, and how often they may be made.
AGREED, TRIES = 0.005, 8

# Arguments of h2load, and the status that is expected.
KINDS = {
    "get_1k": ("GET, an answer of 1 KiB", ["--h1", "-H", "x-api-key: {key}", "{plain}/1024"], 200),
    "get_1k_30_fields": ("the same with 30 more header fields", ["--h1", "{fields}", "-H", "x-api-key: {key}", "{plain}/1024"], 200),
    "refused_unknown": ("a key that nobody has: 401", ["--h1", "-H", "x-api-key: {key}x", "{plain}/1024"], 401),
    "refused_malformed": ("a key with a wrong checksum: 401", ["--h1", "-H", "x-api-key: kg_live_" + "0" * 49, "{plain}/1024"], 401),
    "refused_missing": ("no key: 401", ["--h1", "{plain}/1024"], 401),
    "post_16k": ("POST of 16 KiB, an answer of 256 B", ["--h1", "-d", "{body}", "-H", "x-api-key: {key}", "{plain}/256"], 200),
    "get_64k": ("GET, an answer of 64 KiB", ["--h1", "-H", "x-api-key: {key}", "{plain}/65536"], 200),
    "get_1k_tls": ("GET, 1 KiB, TLS 1.3", ["--h1", "-H", "x-api-key: {key}", "{tls}/1024"], 200),
    "get_1k_h2": ("GET, 1 KiB, HTTP/2 over TLS", ["-H", "x-api-key: {key}", "{tls}/1024"], 200),
    "refused_throttled": ("any key of a network that has shown too many wrong ones: 429", ["--h1", "-H", "x-api-key: {key}", "{plain}/1024"], 429),
}

# Wrong keys that a network may show. For 429 the first is too many.
MANY, FEW = "{ rate: 1000000/s }", "{ rate: 1/h, burst: 1 }"

# Name, by which share of the figure it may grow, by how much at least, and how it is written.
COUNTS = {
    "instructions": (0.05, 0, "{:.0f}"),
    "allocations": (0, 0.5, "{:.1f}"),
    "system_calls": (0, 0.5, "{:.1f}"),
    "clock_readings": (0.3, 0.9, "{:.1f}"),
}
ALLOCATOR = re.compile(r"mi_(heap_)?(m|z|c|re|rec|rez)alloc\w*|(m|c|re)alloc|posix_memalign|aligned_alloc")


def upstream():
    """A service that answers `/N` with N bytes once the whole request is there, in this process."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    waiting = {}

    def answers(connection, data):
        while b"\r\n\r\n" in data:
            head, rest = data.split(b"\r\n\r\n", 1)
            body = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            body = int(body.group(1)) if body else 0
            if len(rest) < body:
                break
            size, data = int(head.split(b" ", 2)[1][1:]), rest[body:]
            yield b"HTTP/1.1 200 OK\r\nserver: upstream\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
        waiting[connection] = data

    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)

    def serve():
        while True:
            for event, _ in ready.select():
                connection = event.fileobj
                if connection is listener:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(connection, selectors.EVENT_READ)
                    waiting[connection] = b""
                    continue
                data = connection.recv(1 << 17)
                if data:
                    for answer in answers(connection, waiting[connection] + data):
                        connection.sendall(answer)
                else:
                    ready.unregister(connection)
                    del waiting[connection]
                    connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


class Gateway:
    """The gateway with everything on, under valgrind, which counts from the start of `measure` on."""

    def __init__(self, folder, wrong_keys):
        self.folder, self.dumps, self.wrong_keys = folder, 0, wrong_keys
        plain, tls, management = free_port(), free_port(), free_port()
        self.places = {"plain": f"http://127.0.0.1:{plain}", "tls": f"https://127.0.0.1:{tls}", "key": KEY, "body": os.path.join(folder, "body")}
        said = subprocess.run([BINARY, "hash"], input=KEY, capture_output=True, text=True, check=True)
        subject = ["-subj", "/CN=localhost", "-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.crt"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *subject], check=True, capture_output=True)
        with open(self.places["body"], "w") as out:
            out.write("x" * 16384)
        with open(f"{folder}/keygate.yaml", "w") as out:
            out.write(
                f"""threads: 1
management: {{ address: 127.0.0.1:{management} }}
store: none
log: {{ access_file: access.log }}
admission: {{ failed_attempts: {wrong_keys}, max_lag: 1m }}
listeners:
  - {{ name: plain, address: "127.0.0.1:{plain}" }}
  - {{ name: tls, address: "127.0.0.1:{tls}", tls: {{ cert: file:tls.crt, key: file:tls.key }} }}
upstreams: {{ app: {{ endpoints: ["http://127.0.0.1:{upstream()}"] }} }}
routes:
  - name: app
    match: {{ path: / }}
    upstream: app
    timeout: 60s
    limits: {{ rate: 1000000/s }}
    auth: {{ locations: [{{ header: X-API-Key }}, {{ header: apikey }}], scopes: app:use }}
consumers: [{{ name: acme, limits: {{ rate: 1000000/s }} }}]
keys: [{{ name: ci, hash: "{said.stdout.strip()}", consumer: acme, scopes: [app:use], limits: {{ rate: 1000000/s }} }}]
"""
            )
        command = ["nice", "-n5", "valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-systime=yes", f"--callgrind-out-file={folder}/counts"]
        command += [BINARY, "serve", "--config", f"{folder}/keygate.yaml"]
        self.errors = open(f"{folder}/errors", "w+")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.errors)
        for _ in range(1200):
            try:
                for port in (plain, tls, management):
                    socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
            if self.process.poll() is not None:
                self.fail("the gateway ended")
        else:
            self.fail("the gateway did not start")
        if wrong_keys == FEW:
            connection = http.client.HTTPConnection("127.0.0.1", plain)
            connection.request("GET", "/", headers={"x-api-key": "wrong"})
            connection.getresponse().read()
            connection.close()
        self.tell("instrumentation", "on")

    def fail(self, words):
        self.end()
        self.errors.seek(0)
        sys.exit(f"{words}\n{self.errors.read()[-2000:]}")

    def tell(self, *words):
        told = subprocess.run(["vgdb", f"--pid={self.process.pid}", *words], capture_output=True, text=True, timeout=60)
        if told.returncode:
            self.fail(f"vgdb {' '.join(words)}: {told.stderr}")

    def load(self, kind, number):
        """Counts of that many requests, connections included."""
        _, arguments, status = KINDS[kind]
        fields = [part for place in range(30) for part in ("-H", f"x-field-{place}: {'v' * 40}")]
        words = []
        for argument in arguments:
            words += fields if argument == "{fields}" else [argument.format(**self.places)]
        command = ["h2load", f"-c{CONNECTIONS}", "-t1", f"-n{number}", *words]
        said = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
        answered = re.search(r"status codes: (\d+) 2xx, \d+ 3xx, (\d+) 4xx", said)
        if not answered or int(answered.group(1 if status == 200 else 2)) != number:
            self.fail(f"{kind}: not all {number} answers were {status}: {answered and answered.group()}")
        # Ends of connections, and the access log's pace of 50 ms.
        time.sleep(0.2)
        self.tell("dump")
        self.dumps += 1
        return counts(f"{self.folder}/counts.{self.dumps}")

    def measure(self, kind, too_much):
        """Counts of a request: the least that two tries agree on."""
        self.load(kind, SHORT)
        tries, agreed = [], None
        while len(tries) < TRIES:
            short, long = self.load(kind, SHORT), self.load(kind, LONG)
            tries.append({name: (long[name] - short[name]) / (LONG - SHORT) for name in COUNTS})
            tries.sort(key=lambda figures: figures["instructions"])
            for one, other in zip(tries, tries[1:]):
                if other["instructions"] < one["instructions"] * (1 + AGREED):
                    agreed = {name: min(one[name], other[name]) for name in COUNTS}
                    break
            if agreed and not too_much(agreed):
                break
        return agreed or self.fail(f"{kind}: {TRIES} tries, and no two of them agree: {[round(figures['instructions']) for figures in tries]}")

    def end(self):
        self.process.terminate()
        self.process.wait()


def counts(file):
    """Sums of one of callgrind's files: https://valgrind.org/docs/manual/cl-format.html"""
    for _ in range(100):
        if os.path.exists(file):
            break
        time.sleep(0.02)
    found = dict.fromkeys(COUNTS, 0)
    names, caller, callee, inclusive = {}, "", "", False

    def name(text):
        number, _, said = text.partition(" ")
        if said:
            names[number] = said.split("'")[0]
        return names[number]

    with open(file, errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith("fn="):
                caller = name(line[3:])
            elif line.startswith("cfn="):
                callee = name(line[4:])
            elif line.startswith("calls="):
                inclusive = True
                if ALLOCATOR.fullmatch(callee) and not caller.startswith("mi_"):
                    found["allocations"] += int(line[6:].split()[0])
            elif line[:1] in "0123456789+-*" and line:
                # Place, instructions, system calls, and their time.
                costs = line.split()[1:]
                if not inclusive:
                    found["instructions"] += int(costs[0]) if costs else 0
                    calls = int(costs[1]) if len(costs) > 1 else 0
                    found["clock_readings" if caller.startswith("clock_gettime") else "system_calls"] += calls
                inclusive = False
    return found


def grown(figures, committed):
    """Names of counts that are more than they may be."""
    return [name for name, (share, least, _) in COUNTS.items() if figures[name] > committed[name] + max(committed[name] * share, least)]


def write(figures):
    with open(FIGURES, "w") as out:
        out.write("# What a request costs: see benches/instructions.py, which writes this file with --accept.\n")
        out.write("# A figure that grows has its reason in the commit.\n")
        for kind, (words, _, _) in KINDS.items():
            if kind in figures:
                out.write(f"\n# {words}\n[{kind}]\n")
                for name, (_, _, form) in COUNTS.items():
                    out.write(f"{name} = {form.format(figures[kind][name])}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    kinds = options.kinds or list(KINDS)
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(unknown)}")
    committed = {}
    if os.path.exists(FIGURES):
        with open(FIGURES, "rb") as file:
            committed = tomllib.load(file)
    folder, worse, better = tempfile.mkdtemp(prefix="keygate-instructions-"), [], []
    gateway = None
    try:
        print(f"{'a request':20}" + "".join(f"{name.replace('_', ' '):>26}" for name in COUNTS))
        for kind in kinds:
            wrong_keys = FEW if KINDS[kind][2] == 429 else MANY
            if gateway and gateway.wrong_keys != wrong_keys:
                gateway.end()
                gateway = None
            gateway = gateway or Gateway(tempfile.mkdtemp(dir=folder), wrong_keys)
            known = committed.get(kind)
            figures = gateway.measure(kind, lambda figures: known and not options.accept and grown(figures, known))
            row = ""
            for name, (_, _, form) in COUNTS.items():
                was = f" (was {form.format(known[name])})" if known else ""
                row += f"{form.format(figures[name]) + was:>26}"
            print(f"{kind:20}{row}", flush=True)
            worse += [f"{kind}: {name}" for name in (grown(figures, known) if known else COUNTS)]
            if known and figures["instructions"] < known["instructions"] * 0.95:
                better.append(kind)
            if options.accept:
                committed[kind] = figures
    finally:
        if gateway:
            gateway.end()
        shutil.rmtree(folder, ignore_errors=True)
    if options.accept:
        write(committed)
        return
    if better:
        print("less than 95 % of what it was, and not kept yet (benches/instructions.py --accept):", ", ".join(better))
    if worse:
        print("more than it may be (instructions by 5 %, calls by one half, readings by 0.9 and 30 %), or new:", ", ".join(worse))
        sys.exit("if that is on purpose: benches/instructions.py --accept, and the reason in the commit")


if __name__ == "__main__":
    main()
