"""The service in memory, for other teams' tests. `integration/conformance/test_testing.py` has the rest."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest

from credit_contracts import Event, Gap, IncomingData, Late, Missing, ProspectGenerated, SequenceGuard, partition_for
from credit_service.application.processing import fold as waited
from credit_service.domain.decide import decide
from credit_service.testing import CreditService, ParkedEvent
from support.in_memory import play
from support.scenarios import BEGINNING, Scenario, in_short, scenarios
from support.traffic import event


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda s: s.account_id)
def test_what_a_scenario_says_comes_out(scenario: Scenario) -> None:
    published = play(CreditService(BEGINNING), scenario)
    assert [in_short(m.topic, m.value, m.headers) for m in published] == scenario.published


async def test_it_is_used_inside_a_running_event_loop_too() -> None:
    service = CreditService(BEGINNING)
    waits = Event("/x", "1", "prospect-generated", BEGINNING, ProspectGenerated(account_id="acme", prospect_id="ann"))
    assert service.send(waits) == []
    assert isinstance(service.decision("acme", "/x", "1"), ParkedEvent)
    assert service.balance("acme") == 0
    (given_up,) = service.move_clock(BEGINNING + timedelta(hours=25))
    assert given_up.reason == "parked-too-long"
    assert service.dead_letters == [given_up] == service.published


def test_an_event_on_which_the_rules_fail_changes_nothing_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(accounts: Any, inputs: Any, *rest: Any) -> Any:
        decided = decide(accounts, inputs, *rest)
        if any(getattr(one, "id", "") == "fails" for one in inputs):
            raise ZeroDivisionError
        return decided

    service, story = CreditService(BEGINNING), Scenario("acme", BEGINNING)
    service.send(
        *[event(data, BEGINNING) for data in (story.plan(5), story.purchased(2, "p-1"), story.generated("ann"))]
    )
    before = service.account("acme")
    monkeypatch.setattr(waited, "decide", failing)
    told: list[IncomingData] = [story.bounced("ann"), story.purchased(3, "p-2"), story.deleted("ann")]
    for data in told:
        (refused,) = service.send(event(data, BEGINNING, "fails"))
        assert refused.reason == "undecidable"
        assert service.account("acme") == before
    story.expect("refund +1", "purchase +3")
    published = [m for data in told for m in service.send(event(data, BEGINNING))]
    assert [in_short(m.topic, m.value, m.headers) for m in published] == story.published


def test_messages_lie_one_after_the_other_in_the_partitions_of_their_topics() -> None:
    service = CreditService(BEGINNING, topic_prefix="eu-", partitions=2)
    for name in ("acme", "globex", "hooli", "initech"):
        story = Scenario(name, BEGINNING)
        service.send(event(story.plan(1), BEGINNING), event(story.generated("a"), BEGINNING))
        service.send(event(story.generated("b"), BEGINNING))
    service.send_record("plan-changed", None, key=b"acme")
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for message in service.published:
        assert message.place.topic == f"eu-{message.topic}"
        assert message.place.partition == message.partition == partition_for(message.key or b"", 2)
        offsets[message.topic, message.partition].append(message.place.offset)
    assert len(offsets) == 5
    assert all(found == list(range(len(found))) for found in offsets.values())


def test_a_guard_that_misses_a_message_says_to_read_again_from_the_one_before() -> None:
    service, story = CreditService(BEGINNING), Scenario("acme", BEGINNING)
    first, missed, last = service.send(
        *(event(data, BEGINNING) for data in (story.plan(2), story.generated("ann"), story.generated("bob")))
    )
    guard = SequenceGuard(account_id="acme")
    _, guard = guard.take(first.event, first.place)
    gap, guard = guard.take(last.event, last.place)
    assert gap == Gap(Missing(2, 2, first.place), None)
    late, guard = guard.take(missed.event, missed.place)
    assert late == Late(None)
    assert not guard.missing


def test_wrong_use_is_told() -> None:
    service = CreditService(BEGINNING)
    with pytest.raises(ValueError, match="a time needs its zone"):
        CreditService(datetime(2026, 5, 1))  # noqa: DTZ001 - that is what is wrong
    with pytest.raises(ValueError, match="does not go back"):
        service.move_clock(BEGINNING - timedelta(seconds=1))
    with pytest.raises(ValueError, match="'prospects' is not a topic that the service reads: prospect-generated, "):
        service.send_record("prospects", b"{}")
    with pytest.raises(LookupError, match="no event ever named the account 'acme'"):
        service.balance("acme")
    assert service.account("acme") is None
    assert service.decision("acme", "/x", "1") is None
    (refused,) = service.send_record("email-bounced", None)
    with pytest.raises(LookupError, match="no event of the service"):
        refused.event  # noqa: B018 - to read it is what is wrong
