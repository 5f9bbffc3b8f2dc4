#!/usr/bin/env python3
"""Figures of managed keys, of the release build: `cargo build --release`, then

    benches/managed.py creates|revoke|kill|million|mixed [--postgres URL] [--number N]

Each starts gateways of its own on free ports, in a folder that is removed at the end. `--postgres` names an empty database
(the default is SQLite in that folder). `mixed` needs nginx and h2load. Only the standard library is used, so the client takes
a good part of the CPU: rates are lower bounds."""

import argparse
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from common.ports import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "keygate")


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


class Gateway:
    def __init__(self, folder, name, store, upstream=9):
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder)
        self.port, self.management = free_port(), free_port()
        self.token = None
        with open(os.path.join(self.folder, "keygate.yaml"), "w") as file:
            file.write(
                f"""listeners: [{{ address: 127.0.0.1:{self.port}, name: main }}]
management: {{ address: 127.0.0.1:{self.management} }}
store: "{store}"
data_dir: data
log: {{ access: false }}
upstreams: {{ app: {{ endpoints: ["http://127.0.0.1:{upstream}"] }} }}
routes: [{{ name: app, match: {{ path: / }}, upstream: app, auth: {{ scopes: {{ "*": app:read }} }} }}]
"""
            )

    def start(self):
        token = os.path.join(self.folder, "token")
        command = [BINARY, "serve", "--config", "keygate.yaml", "--setup-token-file", token]
        errors = open(os.path.join(self.folder, "err"), "a")
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=errors)
        began = time.monotonic()
        while time.monotonic() - began < 120:
            try:
                if self.call("GET", "/readyz")[0] == 200:
                    break
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit(open(os.path.join(self.folder, "err")).read())
            time.sleep(0.01)
        took = time.monotonic() - began
        while self.token is None and not os.path.exists(token):
            time.sleep(0.01)
        if self.token is None:
            time.sleep(0.05)
            self.token = open(token).read().strip()
        return took

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait()

    def memory(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) // 1024

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.management, timeout=60)

    def call(self, method, path, body=None, connection=None, kind="application/json"):
        own = connection or self.connect()
        headers = {"connection": "keep-alive" if connection else "close"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        if body is not None:
            headers["content-type"] = kind
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        own.request(method, path, body, headers)
        answer = own.getresponse()
        return answer.status, answer.read()

    def data(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


def accepted(connection, secret):
    """Whether the gateway lets a key through: without an upstream that is a 502."""
    connection.request("GET", "/", headers={"X-API-Key": secret})
    answer = connection.getresponse()
    answer.read()
    return answer.status in (200, 502)


def create(gateway, connection, name="k"):
    while True:
        status, body = gateway.call("POST", "/v1/keys", {"name": name, "scopes": ["app:read"]}, connection)
        if status == 201:
            reply = json.loads(body)
            return reply["key"]["id"], reply["secret"]
        if status != 429:
            sys.exit(f"{status} {body}")
        time.sleep(0.05)


def creates(folder, options):
    gateway = Gateway(folder, "one", options.store)
    gateway.start()
    for writers in (1, 8):
        each = options.number // writers
        times = []

        def work():
            connection = gateway.connect()
            for _ in range(each):
                began = time.monotonic()
                create(gateway, connection)
                times.append(time.monotonic() - began)

        threads = [threading.Thread(target=work) for _ in range(writers)]
        began = time.monotonic()
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        took = time.monotonic() - began
        times.sort()
        print(
            f"creates, {writers} at a time: {len(times) / took:.0f}/s, "
            f"p50 {percentile(times, 0.5) * 1e3:.1f} ms, p99 {percentile(times, 0.99) * 1e3:.1f} ms"
        )
    gateway.end()


def revoke(folder, options):
    one = Gateway(folder, "one", options.store)
    one.start()
    other = None
    if options.postgres:
        other = Gateway(folder, "other", options.store)
        other.token = one.token
        other.start()
    admin, here = one.connect(), one.data()
    there = other.data() if other else None
    wrong, lags, elsewhere = 0, [], []
    for _ in range(options.number):
        identity, secret = create(one, admin)
        assert accepted(here, secret), "a new key is not accepted"
        if there:
            while not accepted(there, secret):
                time.sleep(0.001)
        began = time.monotonic()
        status, body = one.call("POST", f"/v1/keys/{identity}/revoke", {"reason": "compromised"}, admin)
        replied = time.monotonic()
        assert status == 200, body
        wrong += accepted(here, secret)
        lags.append(replied - began)
        if there:
            while accepted(there, secret):
                time.sleep(0.001)
            elsewhere.append(time.monotonic() - replied)
    lags.sort()
    print(f"{options.number} revocations: {wrong} accepted after the reply; reply p50 {percentile(lags, 0.5) * 1e3:.1f} ms, p99 {percentile(lags, 0.99) * 1e3:.1f} ms")
    if elsewhere:
        elsewhere.sort()
        print(f"another process, after the reply: p50 {percentile(elsewhere, 0.5) * 1e3:.1f} ms, p99 {percentile(elsewhere, 0.99) * 1e3:.1f} ms, max {elsewhere[-1] * 1e3:.1f} ms")
        other.end()
    one.end()


def kill(folder, options):
    gateway = Gateway(folder, "one", options.store)
    told, lock = set(), threading.Lock()
    kills = 0
    while len(told) < options.number:
        gateway.start()
        goal = len(told) + options.number // 20
        stop = threading.Event()

        def work():
            connection = gateway.connect()
            while not stop.is_set():
                try:
                    identity, _ = create(gateway, connection)
                except (OSError, http.client.HTTPException, ValueError):
                    return
                with lock:
                    told.add(identity)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for one in threads:
            one.start()
        while len(told) < goal:
            time.sleep(random.random() / 100)
        gateway.end(signal.SIGKILL)
        kills += 1
        stop.set()
        for one in threads:
            one.join()
    gateway.start()
    status, body = gateway.call("GET", "/v1/keys/export")
    assert status == 200, body
    there = {json.loads(line)["id"] for line in body.splitlines() if line.strip()}
    _, verdict = gateway.call("POST", "/v1/audit/verify", {})
    print(f"{kills} times kill -9 during {len(told)} acknowledged writes: {len(told - there)} lost, {len(there)} there")
    print("audit:", verdict.decode()[:200])
    gateway.end()


def lines(number):
    words = ["billing", "orders", "mobile", "partner", "north", "south", "batch", "report", "sync", "mail"]
    pick = random.Random(7)
    for place in range(number):
        key = {
            "name": f"{pick.choice(words)} {pick.choice(words)} {place}",
            "hash": "blake3:" + hashlib.sha256(b"%d" % place).hexdigest(),
            "scopes": ["app:read"],
            "tags": [f"t{place % 1000}"],
        }
        yield json.dumps(key)


QUERIES = {
    "newest": "/v1/keys",
    "last used": "/v1/keys?sort=-last_used_at",
    "by name": "/v1/keys?sort=name",
    "search: one": "/v1/keys?q={number}",
    "search: a common word": "/v1/keys?q=billing",
    "search: two common words": "/v1/keys?q=billing%20mail",
    "a tag": "/v1/keys?tag=t{tag}",
    "a tag and a word": "/v1/keys?tag=t{tag}&q=mail",
    "a scope of all": "/v1/keys?scope=app:read",
    "active": "/v1/keys?status=active",
    "expiring": "/v1/keys?status=expiring",
    "revoked": "/v1/keys?status=revoked",
    "unused": "/v1/keys?unused_since=2020-01-01",
    "never expires": "/v1/keys?never_expires=true",
}


def million(folder, options):
    gateway = Gateway(folder, "one", options.store)
    gateway.start()
    connection, batch, began, done = gateway.connect(), [], time.monotonic(), 0
    for line in lines(options.number):
        batch.append(line)
        if len(batch) == 1000:
            status, body = gateway.call("POST", "/v1/keys/import", "\n".join(batch).encode(), connection, "application/x-ndjson")
            assert status == 200, body
            done, batch = done + 1000, []
            if done % 100_000 == 0:
                print(f"imported {done}: {done / (time.monotonic() - began):.0f}/s", flush=True)
    gateway.end()
    took = gateway.start()
    print(f"start with {done} keys: {took:.1f} s, {gateway.memory()} MiB")
    connection, all_times = gateway.connect(), []
    for name, path in QUERIES.items():
        times = []
        for _ in range(100):
            target = path.format(number=random.randrange(done), tag=random.randrange(1000))
            began = time.monotonic()
            status, body = gateway.call("GET", target, None, connection)
            times.append(time.monotonic() - began)
            assert status == 200, body
        times.sort()
        all_times += times
        print(f"{name:26} p50 {percentile(times, 0.5) * 1e3:6.1f} ms, p99 {percentile(times, 0.99) * 1e3:6.1f} ms")
    all_times.sort()
    print(f"{'all':26} p50 {percentile(all_times, 0.5) * 1e3:6.1f} ms, p99 {percentile(all_times, 0.99) * 1e3:6.1f} ms; {gateway.memory()} MiB")
    gateway.end()


def nginx(folder):
    port = free_port()
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as file:
        file.write(
            f"daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1; events {{ }}\n"
            f"http {{ access_log off; keepalive_requests 1000000; server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }} }}\n"
        )
    return port, subprocess.Popen(["nginx", "-c", path, "-p", folder], stderr=subprocess.DEVNULL)


def mixed(folder, options):
    """Latency of requests at a fixed rate, alone and beside 200 admin changes a second and the flush of usage."""
    port, upstream = nginx(folder)
    gateway = Gateway(folder, "one", options.store, port)
    gateway.start()
    connection = gateway.connect()
    _, secret = create(gateway, connection)
    changes = [0]

    def change(stop):
        connection = gateway.connect()
        due = time.monotonic()
        while not stop.is_set():
            create(gateway, connection)
            changes[0] += 1
            due += 1 / 200
            time.sleep(max(0, due - time.monotonic()))

    def load():
        log = os.path.join(folder, "log")
        command = ["h2load", "--h1", "-c", "8", "--rps", "125", "-D", "15", f"--log-file={log}", "-H", f"X-API-Key: {secret}", f"http://127.0.0.1:{gateway.port}/"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = [line.split("\t") for line in open(log)]
        os.remove(log)
        times = sorted(int(row[2]) for row in rows if row[1] == "200")
        return len(times), [percentile(times, share) / 1e3 for share in (0.5, 0.9, 0.99, 0.999)]

    for round in range(3):
        alone = load()
        stop = threading.Event()
        changes[0], thread = 0, threading.Thread(target=change, args=(stop,))
        thread.start()
        beside = load()
        stop.set()
        thread.join()
        for name, (count, shares) in (("alone", alone), (f"beside {changes[0] / 15:.0f} changes/s", beside)):
            text = ", ".join(f"p{share} {value:.2f}" for share, value in zip((50, 90, 99, 99.9), shares))
            print(f"{name:24} {count} requests, ms: {text}", flush=True)
    gateway.end()
    upstream.terminate()
    upstream.wait()


def main():
    acts = {"creates": (creates, 2000), "revoke": (revoke, 1000), "kill": (kill, 10_000), "million": (million, 1_000_000), "mixed": (mixed, 0)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=acts)
    parser.add_argument("--postgres", metavar="URL")
    parser.add_argument("--number", type=int)
    options = parser.parse_args()
    options.store = options.postgres or "sqlite:keygate.db"
    act, number = acts[options.figure]
    options.number = options.number or number
    folder = tempfile.mkdtemp(prefix="keygate-figures-")
    try:
        act(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
