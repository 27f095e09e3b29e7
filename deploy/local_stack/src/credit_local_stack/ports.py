"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"

# Below the range that kernels take for outgoing connections. Within it, a client that keeps trying
# to reach a killed server can be given the server's own port, and then nobody can bind it again.
_CANDIDATES = range(15_000, 32_000)
_TRIES_MAX = 200

_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on at this moment, and that this process was not given before."""
    for port in random.SystemRandom().sample(_CANDIDATES, _TRIES_MAX):
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError(f"none of {_TRIES_MAX} ports tried on {HOST} is free")


def is_free(port: int) -> bool:
    """Whether somebody could listen on it now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
