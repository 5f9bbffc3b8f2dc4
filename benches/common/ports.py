"""Places to listen at."""

import socket


def free_port():
    """A port of 127.0.0.1 at which nobody listens now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
