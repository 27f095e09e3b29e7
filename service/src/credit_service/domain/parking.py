"""Parks the events of an account without a plan; its first plan has them decided in order of occurrence."""

from collections.abc import Callable

from credit_service import bounds
from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.decision import Refused
from credit_service.domain.event import Incoming


class ParkedFailed(Exception):  # noqa: N818 - reads as the condition that it reports
    """The rules failed on a parked event: that event is at fault, not the input that unparked it."""

    def __init__(self, incoming: Incoming) -> None:
        super().__init__()
        self.incoming = incoming


def park(account: Account, incoming: Incoming, batch: Batch) -> None:
    """Parks the event; the number of parked events is bounded only for an account without a plan.

    On an account with a plan they are decided soon, or when its opening ends, and would be decisions otherwise.
    """
    if account.parked >= bounds.PARKED_MAX and not account.has_started:
        batch.out.refused.append(Refused(incoming, "parked-full"))
        return
    account.park(incoming)
    batch.out.parked.append(incoming)


def unpark(account: Account, apply: Callable[[Incoming], None], batch: Batch) -> None:
    """Applies the parked events, oldest first, at most `unparked_max`, and none past the last one loaded.

    Events that are `given_up` are refused. Raises `ParkedFailed`.
    """
    if not account.can_unpark:
        return
    ready = account.take_waiting(batch.rules.unparked_max)
    batch.out.unparked += ready
    for incoming in ready:
        failed_by = batch.given_up.get((account.account_id, incoming.key))
        if failed_by is not None:
            batch.out.refused.append(Refused(incoming, "undecidable", failed_by))
            continue
        try:
            apply(incoming)
        except Exception as error:
            raise ParkedFailed(incoming) from error


def forget_passed_through(batch: Batch) -> None:
    """Removes events that were parked and unparked in the same batch: the table never had them."""
    out = batch.out
    passed_through = {id(incoming) for incoming in out.parked} & {id(incoming) for incoming in out.unparked}
    if passed_through:
        out.parked = [incoming for incoming in out.parked if id(incoming) not in passed_through]
        out.unparked = [incoming for incoming in out.unparked if id(incoming) not in passed_through]
