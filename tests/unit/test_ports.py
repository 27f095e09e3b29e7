"""Whoever chooses ports is given none twice."""

from __future__ import annotations

import socket
from itertools import chain

import pytest

from credit_local_stack import ports as stack_ports
from support import ports


def test_no_two_workers_have_a_port_in_common() -> None:
    shares = [ports.of_worker(worker, 3) for worker in range(3)]
    assert len(set(chain(*shares))) == sum(map(len, shares)) == 5_000
    assert not set(chain(*shares)) & set(stack_ports._CANDIDATES)


def test_a_worker_takes_none_twice_in_a_run() -> None:
    taken = [ports.next_port() for _ in range(500)]
    assert len(set(taken)) == len(taken)
    assert set(taken) <= set(ports._MINE)


def test_who_starts_servers_is_given_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_ports, "_CANDIDATES", range(15_000, 15_003))
    monkeypatch.setattr(stack_ports, "_TRIES_MAX", 3)
    monkeypatch.setattr(stack_ports, "_given", set())
    monkeypatch.setattr(stack_ports, "is_free", lambda _: True)
    assert sorted(stack_ports.free_port() for _ in range(3)) == [15_000, 15_001, 15_002]
    with pytest.raises(OSError, match="none of 3 ports"):
        stack_ports.free_port()


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server((stack_ports.HOST, 0)) as server:
        port = server.getsockname()[1]
        assert not stack_ports.is_free(port)
    assert stack_ports.is_free(port)
