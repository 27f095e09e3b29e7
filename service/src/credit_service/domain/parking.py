"""Events of an account without a plan wait for its first one, and are then decided in order of occurrence."""

from collections.abc import Callable

from credit_service import bounds
from credit_service.domain.account import Account
from credit_service.domain.decision import Decided, Incoming, Refused


def park(account: Account, incoming: Incoming, out: Decided) -> None:
    """Lets the event wait behind those that wait already."""
    if account.parked >= bounds.PARKED_MAX:
        out.refused.append(Refused(incoming, "parked-full"))
        return
    account.parked += 1
    account.parked_keys[incoming.key] = incoming.content
    account.waiting.append(incoming)
    out.parked.append(incoming)


def unpark(account: Account, apply: Callable[[Incoming], None], out: Decided, *, events_max: int) -> None:
    """Applies the events that wait, oldest first, at most `events_max`, and none past the last one loaded."""
    if not account.waiting or not account.has_started:
        return
    account.waiting.sort(key=lambda incoming: incoming.order)
    until = account.waiting_until
    ready = [i for i in account.waiting if until is None or i.order <= until][:events_max]
    account.waiting = account.waiting[len(ready) :]
    account.parked -= len(ready)
    out.unparked += ready
    for incoming in ready:
        del account.parked_keys[incoming.key]
        apply(incoming)


def forget_passed_through(out: Decided) -> None:
    """Events that were parked and decided in one go were never in the table: neither new nor gone."""
    passed_through = {id(incoming) for incoming in out.parked} & {id(incoming) for incoming in out.unparked}
    if passed_through:
        out.parked = [incoming for incoming in out.parked if id(incoming) not in passed_through]
        out.unparked = [incoming for incoming in out.unparked if id(incoming) not in passed_through]
