"""The service in memory, fed with scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.scenarios import Lies, Ordered, Passes, Scenario, Told

if TYPE_CHECKING:
    from credit_service.testing import CreditService, Message


def play(service: CreditService, scenario: Scenario) -> list[Message]:
    """All steps; what the scenario's account was told of meanwhile."""
    before = len(service.published)
    for step in scenario.steps:
        service.move_clock(step.at)
        match step:
            case Told(event=event):
                service.send(event)
            case Lies(topic=topic, key=key, value=value, headers=headers):
                service.send_record(topic, value, headers=headers, key=key)
            case Ordered():
                assert _answer(service, step) == step.answer
            case Passes():
                pass
    return [m for m in service.published[before:] if m.key == scenario.account_id.encode()]


def _answer(service: CreditService, ordered: Ordered) -> str:
    try:
        answer, _ = service.order(ordered.account_id, ordered.what, ordered.command_id)
    except ValueError as error:
        return str(error)
    return answer
