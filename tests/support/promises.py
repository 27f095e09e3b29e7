"""Every promise of the service by name, checked on the contents of Postgres and Kafka."""

from __future__ import annotations

from collections.abc import Callable, Collection

from support import ledger_promises, topic_promises
from support.ledger_promises import Violations
from support.observed import Observed
from support.retold import retold


def assert_holds(observed: Observed, *, repeats: bool = False, but: Collection[str] = ()) -> None:
    """Raises with every promise that is broken."""
    broken = violations(observed, repeats=repeats, but=but)
    assert not broken, "\n".join([f"{len(broken)} promises broken:", *broken[:40]])


def violations(observed: Observed, *, repeats: bool = False, but: Collection[str] = ()) -> list[str]:
    """What is broken, each line beginning with the name of the promise."""
    paused = {observed.prefix + name for name in but}
    checks: dict[str, Callable[[], Violations]] = {
        "balance": lambda: ledger_promises.balance(observed),
        "grants": lambda: ledger_promises.grants(observed),
        "causes": lambda: ledger_promises.causes(observed),
        "charges": lambda: ledger_promises.charges(observed),
        "prospects": lambda: retold(observed),
        "requests": lambda: ledger_promises.requests(observed),
        "purchases": lambda: ledger_promises.purchases(observed),
        "adjustments": lambda: ledger_promises.adjustments(observed),
        "declines": lambda: ledger_promises.declines(observed),
        "positions": lambda: ledger_promises.positions(observed),
        "inputs": lambda: topic_promises.inputs(observed, paused),
        "changes out": lambda: topic_promises.changes_out(observed, repeats=repeats),
        "declines out": lambda: topic_promises.declines_out(observed, repeats=repeats),
        "dead letters out": lambda: topic_promises.dead_letters_out(observed, repeats=repeats),
        "outbox": lambda: topic_promises.outbox(observed),
        "offsets": lambda: topic_promises.offsets(observed, paused),
    }
    return [f"{name}: {told}" for name, check in checks.items() for told in check()]
