from __future__ import annotations

from datetime import timedelta

import pytest

from credit_contracts.incoming import EmailBounced, PlanChanged, ProspectExported, ProspectGenerated
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.idempotency import content_of, key_of
from support.domain import ACCOUNT, NOW, Story, event, time


@pytest.mark.parametrize("months_later", ["2026-01-05", "2027-01-05", "2035-12-31"])
def test_the_same_key_again_has_no_second_effect(hundred: Story, months_later: str) -> None:
    hundred.generate("ann", "2026-01-05", event_id="same")
    before = list(hundred.log)

    assert hundred.generate("ann", months_later, event_id="same") == "duplicate"
    assert hundred.log == before


def test_the_same_key_twice_in_one_batch_is_once(hundred: Story) -> None:
    incoming = event(ProspectGenerated(account_id=ACCOUNT, prospect_id="ann"), time("2026-01-05"), "same")
    decided = hundred.batch([incoming, incoming])

    assert (len(decided.decisions), len(decided.duplicates)) == (1, 1)
    assert hundred.balance == 99


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (lambda s: s.plan(200, event_id="k"), lambda s: s.plan(200, event_id="k")),
        (lambda s: s.bounce("ann", event_id="k"), lambda s: s.bounce("ann", event_id="k")),
        (lambda s: s.plan(5, "2020-01-01", event_id="k"), lambda s: s.plan(5, event_id="k")),
    ],
    ids=["a plan", "a bounce that waits for its charge", "a superseded plan"],
)
def test_every_kind_of_decision_is_made_once(hundred: Story, first, again) -> None:  # type: ignore[no-untyped-def]
    first(hundred)
    before = list(hundred.log)

    assert again(hundred) == "duplicate"
    assert hundred.log == before


def test_the_same_key_with_other_content_is_a_conflict_without_effect(hundred: Story) -> None:
    hundred.generate("ann", event_id="same")
    before, decisions = list(hundred.log), len(hundred.decisions)

    assert hundred.generate("bob", event_id="same") == "conflict"
    assert hundred.export("ann", event_id="same") == "conflict"
    assert hundred.plan(500, event_id="same") == "conflict"
    assert (hundred.log, len(hundred.decisions)) == (before, decisions)
    assert hundred.prospect("bob") is None
    assert hundred.generate("ann", event_id="same") == "duplicate"


def test_a_repeat_does_not_turn_the_month(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-05", event_id="same")
    hundred.generate("ann", "2026-05-05", event_id="same")

    assert hundred.log == ["plan_change +100", "charge -1"]


def test_another_source_may_use_the_same_id(hundred: Story) -> None:
    hundred.batch(
        [
            event(ProspectGenerated(account_id=ACCOUNT, prospect_id=name), time("2026-01-05"), "1", source)
            for name, source in (("ann", "/campaigns"), ("bob", "/mailer"))
        ]
    )

    assert hundred.balance == 98


@pytest.mark.parametrize(
    ("ahead", "became"),
    [
        (timedelta(minutes=5), "charged"),
        (timedelta(minutes=5, microseconds=1), "from-the-future"),
        (timedelta(days=400), "from-the-future"),
    ],
)
def test_an_event_may_be_five_minutes_ahead_of_the_clock(hundred: Story, ahead: timedelta, became: str) -> None:
    assert hundred.generate("ann", (NOW + ahead).isoformat()) == became


@pytest.mark.parametrize(
    ("ahead", "became"), [(timedelta(minutes=5), "charged"), (timedelta(minutes=5, microseconds=1), "from-the-future")]
)
def test_nor_more_ahead_of_when_its_broker_took_it_in(hundred: Story, ahead: timedelta, became: str) -> None:
    data = ProspectGenerated(account_id=ACCOUNT, prospect_id="ann")
    one = event(data, time("2026-01-05") + ahead, "late")
    one.appended_at = time("2026-01-05")
    decided = hundred.batch([one])

    assert [*(d.outcome for d in decided.decisions), *(r.reason for r in decided.refused)] == [became]


def test_a_broker_whose_clock_is_ahead_lets_nothing_more_in(hundred: Story) -> None:
    data = ProspectGenerated(account_id=ACCOUNT, prospect_id="ann")
    one = event(data, NOW + timedelta(minutes=6), "early")
    one.appended_at = NOW + timedelta(hours=1)

    assert [refused.reason for refused in hundred.batch([one]).refused] == ["from-the-future"]


def test_an_event_from_the_future_leaves_no_trace(hundred: Story) -> None:
    before = list(hundred.log)
    hundred.generate("ann", (NOW + timedelta(minutes=6)).isoformat(), event_id="same")

    assert hundred.log == before
    assert [(r.reason, r.incoming.id) for r in hundred.refused] == [("from-the-future", "same")]
    assert hundred.generate("ann", "2026-01-05", event_id="same") == "charged"


def test_an_event_from_the_future_is_not_parked_and_starts_nothing(story: Story) -> None:
    ahead = (NOW + timedelta(minutes=6)).isoformat()

    assert story.generate("ann", ahead) == "from-the-future"
    assert story.plan(100, ahead) == "from-the-future"
    assert story.waiting == 0
    assert story.period is None


@pytest.mark.parametrize(
    ("at", "became"), [("1969-12-31 23:59:59.999999", "before-1970"), ("1970-01-01", "plan-in-force")]
)
def test_time_begins_in_1970(story: Story, at: str, became: str) -> None:
    assert story.plan(100, at) == became


def test_an_event_under_the_services_own_source_cannot_take_the_key_of_a_timer(hundred: Story) -> None:
    data = ProspectGenerated(account_id=ACCOUNT, prospect_id="ann")
    hundred.batch([event(data, time("2026-01-05"), "renewal:2026-02-01T00:00:00.000000Z", SERVICE_SOURCE)])

    assert [refused.reason for refused in hundred.refused] == ["reserved-source"]
    assert hundred.wait("2026-02-01").log == ["plan_change +100", "lapse -100", "renewal +100"]


def test_source_and_id_do_not_run_into_each_other() -> None:
    assert key_of("/a", "b/c") != key_of("/a/b", "c")
    assert key_of("/a", "1:b") != key_of("/a1", ":b")
    assert key_of("/a", "b") == key_of("/a", "b")
    assert len(key_of("/a", "b")) == 16


def test_content_is_the_type_and_what_is_known_of_the_data() -> None:
    data = {"account_id": "acme", "prospect_id": "ann"}
    generated = content_of("prospect-generated", ProspectGenerated.model_validate(data))

    assert generated == content_of("prospect-generated", ProspectGenerated.model_validate({**data, "new": "field"}))
    assert generated == content_of(
        "prospect-generated", ProspectGenerated.model_validate({**data, "campaign_id": None})
    )
    assert generated != content_of("prospect-generated", ProspectGenerated.model_validate({**data, "campaign_id": "c"}))
    assert generated != content_of("prospect-exported", ProspectExported.model_validate(data))
    assert len(generated) == 16


def test_content_of_a_bounce_without_a_type_is_that_of_a_hard_one() -> None:
    absent = EmailBounced(account_id="acme", prospect_id="ann")
    hard = EmailBounced(account_id="acme", prospect_id="ann", bounce_type="hard")

    assert content_of("email-bounced", absent) == content_of("email-bounced", hard)


def test_content_is_the_same_for_the_same_instant_in_another_zone() -> None:
    utc, berlin = (
        PlanChanged.model_validate(
            {"account_id": "acme", "plan_id": "p", "monthly_credits": None, "effective_at": effective_at}
        )
        for effective_at in ("2026-01-01T12:00:00Z", "2026-01-01T13:00:00.000+01:00")
    )

    assert content_of("plan-changed", utc) == content_of("plan-changed", berlin)


def test_content_does_not_change_between_versions() -> None:
    """Hashes that are years old must still compare equal: a change needs a new CONTENT_VERSION."""
    plan = PlanChanged(account_id="acme", plan_id="p", monthly_credits=0, effective_at=time("2026-01-01"))

    assert key_of("/billing", "1").hex() == "d7e9a245aef901e15eb35e96b9015233"
    assert content_of("plan-changed", plan).hex() == "d007fc3cdf18cbe1af72d26b3369dcc2"
