#!/usr/bin/env python3
"""What handshakes of TLS cost the release build: `cargo build --release`, then

    benches/handshakes.py [--number N]

For certificates of an ECDSA key (P-256) and an RSA key (2048 bits): microseconds of the gateway's CPU for a connection with a whole
handshake, and for one that goes on with an earlier session by a ticket. On each one request without a key is sent and refused, and
its share is taken off (what a refused request costs on a connection that is kept). CPU is what the kernel has counted for the whole
process. Needs openssl, and only Python's standard library."""

import argparse
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from common.ports import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("KEYGATE_BIN") or os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "keygate")
KINDS = {"ECDSA": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "RSA": ["rsa:2048"]}
VERSIONS = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}
ROUNDS = 8
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Gateway:
    def __init__(self, folder):
        self.ports = {kind: free_port() for kind in KINDS}
        listeners = ""
        for kind, key in KINDS.items():
            files = ["-keyout", f"{folder}/{kind}.key", "-out", f"{folder}/{kind}.crt"]
            subprocess.run(["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-subj", "/CN=localhost", *files], check=True, capture_output=True)
            listeners += f'  - {{ name: {kind}, address: "127.0.0.1:{self.ports[kind]}", tls: {{ cert: file:{kind}.crt, key: file:{kind}.key }} }}\n'
        with open(f"{folder}/keygate.yaml", "w") as out:
            out.write(
                f"""threads: 1
management: {{ address: 127.0.0.1:{free_port()} }}
store: none
log: {{ access: false }}
admission: {{ failed_attempts: off }}
listeners:
{listeners}
upstreams: {{ app: {{ endpoints: ["http://127.0.0.1:9"] }} }}
routes: [{{ name: app, match: {{ path: / }}, upstream: app, auth: {{ scopes: app:use }} }}]
"""
            )
        self.errors = open(f"{folder}/errors", "w+")
        self.process = subprocess.Popen([BINARY, "serve", "--config", f"{folder}/keygate.yaml"], stdout=subprocess.DEVNULL, stderr=self.errors)
        for port in self.ports.values():
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
                if self.process.poll() is not None:
                    self.errors.seek(0)
                    sys.exit(f"the gateway ended\n{self.errors.read()[-2000:]}")
            else:
                sys.exit("the gateway did not start")

    def cpu(self):
        """Microseconds."""
        return time.clock_gettime_ns(~self.process.pid << 3 | 2) / 1000

    def end(self):
        self.process.terminate()
        self.process.wait()


def context(version):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = VERSIONS[version]
    return made


def ask(one):
    one.sendall(REQUEST)
    answer = http.client.HTTPResponse(one)
    answer.begin()
    answer.read()
    if answer.status != 401:
        sys.exit(f"an answer with {answer.status}")


def connect(port, tls, session=None):
    """The session of a connection after one request."""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with tls.wrap_socket(plain, server_hostname="localhost", session=session) as one:
            ask(one)
            if one.session_reused != (session is not None):
                sys.exit("a session went on, or did not, against what was asked")
            return one.session


def cost(gateway, number, act):
    """Of one of them, in the round that was disturbed least."""
    rounds = []
    for _ in range(ROUNDS):
        before = gateway.cpu()
        for _ in range(number // ROUNDS):
            act()
        time.sleep(0.05)
        rounds.append((gateway.cpu() - before) / (number // ROUNDS))
    return min(rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=2000, help=f"of connections of each kind, at least {ROUNDS}")
    options = parser.parse_args()
    if options.number < ROUNDS:
        parser.error(f"--number is at least {ROUNDS}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder, gateway = tempfile.mkdtemp(prefix="keygate-handshakes-"), None
    try:
        gateway = Gateway(folder)
        for kind, port in gateway.ports.items():
            for version in VERSIONS:
                tls = context(version)
                with socket.create_connection(("127.0.0.1", port)) as plain, tls.wrap_socket(plain) as kept:
                    request = cost(gateway, options.number, lambda: ask(kept))
                session = connect(port, tls)
                for what, known in (("whole", None), ("resumed", session)):
                    found = cost(gateway, options.number, lambda: connect(port, tls, known)) - request
                    print(f"TLS {version}, {kind}, {what}: {found:.0f} µs, {1e6 / found:.0f} a CPU second", flush=True)
    finally:
        if gateway:
            gateway.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
