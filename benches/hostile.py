#!/usr/bin/env python3
"""Figures of the release build under attack: `cargo build --release`, then

    benches/hostile.py slow [--number N]    N connections that do nothing or next to nothing, and good requests beside them
    benches/hostile.py flood                wrong keys as fast as h2load can send them, and good requests beside them

Each starts a gateway of its own on free ports, in a folder that is removed at the end. `flood` needs h2load (nghttp2-client). Good
requests are 200 a second on one kept connection; only the standard library is used, so their times are upper bounds."""

import argparse
import http.client
import os
import re
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from common.ports import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "keygate")
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def upstream():
    """A service that says ok to everything, in this process."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def serve():
        ready = selectors.DefaultSelector()
        ready.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is listener:
                    ready.register(listener.accept()[0], selectors.EVENT_READ)
                    continue
                data = key.fileobj.recv(65536)
                if data:
                    key.fileobj.sendall(ANSWER * data.count(b"\r\n\r\n"))
                else:
                    ready.unregister(key.fileobj)
                    key.fileobj.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


class Gateway:
    def __init__(self, folder, settings):
        self.port, self.management = free_port(), free_port()
        said = subprocess.run([BINARY, "hash", "--generate", "--env", "live"], capture_output=True, text=True, check=True)
        self.key = re.search(r"kg_live_\w+", said.stdout).group()
        digest = re.search(r"blake3:\w+", said.stdout).group()
        file = os.path.join(folder, "keygate.yaml")
        with open(file, "w") as out:
            out.write(
                f"""listeners: [{{ address: 127.0.0.1:{self.port}, name: main, max_connections: 100000 }}]
management: {{ address: 127.0.0.1:{self.management} }}
store: none
log: {{ access: false }}
{settings}
upstreams: {{ app: {{ endpoints: ["http://127.0.0.1:{upstream()}"] }} }}
routes: [{{ name: app, match: {{}}, upstream: app }}]
keys: [{{ name: ci, hash: "{digest}", scopes: [a] }}]
"""
            )
        self.process = subprocess.Popen([BINARY, "serve", "--config", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(1000):
            try:
                socket.create_connection(("127.0.0.1", self.management)).close()
                return
            except OSError:
                time.sleep(0.01)
        sys.exit("the gateway did not start")

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, pattern):
        connection = http.client.HTTPConnection("127.0.0.1", self.management)
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        return sum(float(value) for value in re.findall(pattern + r" (\S+)", page))


def good_requests(gateway, seconds):
    """Milliseconds of 200 requests a second, sorted, and how many failed."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, source_address=("127.0.0.2", 0))
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times, failed = [], 0
    begin = time.monotonic()
    for number in range(int(seconds * 200)):
        time.sleep(max(0, begin + number / 200 - time.monotonic()))
        at = time.perf_counter()
        connection.request("GET", "/", headers={"X-API-Key": gateway.key})
        answer = connection.getresponse()
        answer.read()
        times.append((time.perf_counter() - at) * 1000)
        failed += answer.status != 200
    return sorted(times), failed


def tell(what, outcome):
    times, failed = outcome
    share = lambda part: times[min(len(times) - 1, int(len(times) * part))]
    print(f"{what}: p50 {share(.5):.2f} ms, p99 {share(.99):.2f} ms, max {times[-1]:.2f} ms, {failed} of {len(times)} failed", flush=True)


def slow(gateway, options):
    tell("alone", good_requests(gateway, 10))
    before = gateway.memory()
    request = f"GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {gateway.key}\r\n\r\n".encode()
    idle, dripping = [], []
    for number in range(options.number):
        one = socket.create_connection(("127.0.0.1", gateway.port))
        if number % 10:
            one.sendall(request)
            one.recv(4096)
            idle.append(one)
        else:
            one.sendall(b"GET / HTTP/1.1\r\n")
            dripping.append(one)
    stop = threading.Event()

    def drip():
        while not stop.wait(0.5):
            for place, one in enumerate(dripping):
                try:
                    one.sendall(b"x")
                except OSError:
                    one.close()
                    dripping[place] = socket.create_connection(("127.0.0.1", gateway.port))
                    dripping[place].sendall(b"GET / HTTP/1.1\r\n")

    dripper = threading.Thread(target=drip)
    dripper.start()
    outcome = good_requests(gateway, 20)
    held = gateway.metric(r'keygate_connections\{listener="main",state="open"\}')
    stop.set()
    dripper.join()
    tell(f"beside {held:.0f} connections ({len(idle)} idle, {len(dripping)} dripping)", outcome)
    print(f"memory: {(gateway.memory() - before) * 1024 / options.number:.1f} KiB a connection", flush=True)
    print(f"cut off for slow heads: {gateway.metric(r'keygate_shed_total.*slow_header.*'):.0f}", flush=True)


def flood(gateway, options):
    tell("alone", good_requests(gateway, 10))
    before = gateway.cpu()
    command = ["h2load", "--h1", "-c", "32", "-D", "15", "-t", "1", "-H", "x-api-key: not-a-key", f"http://127.0.0.1:{gateway.port}/"]
    attack = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    outcome = good_requests(gateway, 12)
    said = attack.communicate()[0]
    refused = int(re.search(r"status codes: \d+ 2xx, \d+ 3xx, (\d+) 4xx", said).group(1))
    tell(f"beside {refused / 15:.0f} refusals a second", outcome)
    print(f"CPU: {(gateway.cpu() - before) / refused * 1e6:.1f} us a refusal, good requests included", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=["slow", "flood"])
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--settings", default="", help="a line of the config file, such as 'admission: { failed_attempts: off }'")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    folder = tempfile.mkdtemp(prefix="keygate-figures-")
    gateway = Gateway(folder, options.settings)
    try:
        {"slow": slow, "flood": flood}[options.figure](gateway, options)
    finally:
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
