from __future__ import annotations

import pytest

from credit_contracts.outgoing import SERVICE_SOURCE
from support.domain import Story, time


def test_the_month_ends_with_a_lapse_and_a_new_allowance(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.wait("2026-02-01")

    assert [(c.sequence, c.reason, c.previous_balance, c.balance) for c in hundred.changes[-2:]] == [
        (3, "lapse", 99, 0),
        (4, "renewal", 0, 100),
    ]
    assert [(g.origin, g.remaining, g.effective_at, g.expires_at) for g in hundred.grants] == [
        ("plan", 100, time("2026-02-01"), time("2026-03-01"))
    ]


def test_lapse_and_allowance_share_one_cause(hundred: Story) -> None:
    hundred.wait("2026-02-01")

    decision = hundred.decisions[-1]
    assert (decision.type, decision.outcome, decision.place) == ("renewal", "renewed", None)
    assert {(c.cause.source, c.cause.id, c.cause.position) for c in hundred.changes[-2:]} == {
        (SERVICE_SOURCE, "renewal:2026-02-01T00:00:00.000000Z", decision.position)
    }
    assert {c.occurred_at for c in hundred.changes[-2:]} == {time("2026-02-01")}


def test_the_lapse_belongs_to_the_old_period_and_the_allowance_to_the_new(hundred: Story) -> None:
    hundred.wait("2026-02-01")

    assert [c.period_ends_at for c in hundred.changes[-2:]] == [time("2026-02-01"), time("2026-03-01")]


def test_several_grants_lapse_in_one_change_with_an_entry_each(hundred: Story) -> None:
    hundred.plan(150)
    hundred.generate("ann")
    hundred.wait("2026-02-01")

    lapse = hundred.changes[-2]
    assert (lapse.reason, lapse.lines) == ("lapse", [(1, -99), (2, -50)])


def test_an_empty_grant_closes_without_an_entry(story: Story) -> None:
    story.plan(1, "2026-01-01")
    story.plan(3)
    story.generate("ann")
    story.wait("2026-02-01")

    assert story.changes[-2].lines == [(2, -2)]
    assert len(story.grants) == 1


def test_nothing_left_makes_no_lapse(story: Story) -> None:
    story.plan(1, "2026-01-01")
    story.generate("ann")

    assert story.wait("2026-02-01").log == ["plan_change +1", "charge -1", "renewal +1"]


def test_no_allowance_makes_no_renewal_change(story: Story) -> None:
    story.plan(5, "2026-01-01")
    story.plan(0, "2026-01-02")

    assert story.wait("2026-02-01").log == ["plan_change +5", "lapse -5"]
    assert story.wait("2026-03-01").log == ["plan_change +5", "lapse -5"]
    assert [d.outcome for d in story.decisions[-2:]] == ["renewed", "renewed"]


@pytest.mark.parametrize(
    ("until", "turned"),
    [("2026-01-31 23:59:59.999999", False), ("2026-02-01", True), ("2026-02-01 00:00:00.000001", True)],
)
def test_the_instant_itself_turns_the_month(hundred: Story, until: str, *, turned: bool) -> None:
    assert ("renewal +100" in hundred.wait(until).log) == turned


def test_a_month_turns_once(hundred: Story) -> None:
    hundred.wait("2026-02-01").wait("2026-02-01").wait("2026-02-28")

    assert hundred.log == ["plan_change +100", "lapse -100", "renewal +100"]


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_also_an_event_without_effect_turns_the_month_first(hundred: Story, kind: str) -> None:
    assert kind in ("hard", "soft")
    hundred.bounce("ann", "2026-02-03", kind=kind)  # type: ignore[arg-type]

    assert [d.type for d in hundred.decisions] == ["plan-changed", "renewal", "email-bounced"]


def test_months_that_passed_are_caught_up_one_by_one(hundred: Story) -> None:
    hundred.generate("ann", "2027-01-15")

    assert hundred.log == ["plan_change +100", *["lapse -100", "renewal +100"] * 12, "charge -1"]
    renewals = [d.occurred_at for d in hundred.decisions if d.type == "renewal"]
    assert renewals == [*(time(f"2026-{month:02}-01") for month in range(2, 13)), time("2027-01-01")]
    assert [d.position for d in hundred.decisions] == list(range(1, 15))


def test_months_of_an_account_anchored_on_the_31st(story: Story) -> None:
    story.plan(10, "2026-01-31 10:00", zone="Europe/Berlin")
    story.wait("2026-06-01")

    assert [d.occurred_at for d in story.decisions if d.type == "renewal"] == [
        time("2026-02-28 10:00"),
        time("2026-03-31 09:00"),
        time("2026-04-30 09:00"),
        time("2026-05-31 09:00"),
    ]


def test_a_bounded_wake_stops_after_so_many_timers(hundred: Story) -> None:
    hundred.wait("2027-01-01", timers_max=5)
    assert sum(d.type == "renewal" for d in hundred.decisions) == 5

    hundred.wait("2027-01-01", timers_max=5).wait("2027-01-01", timers_max=5)
    assert sum(d.type == "renewal" for d in hundred.decisions) == 12


def test_many_small_wakes_are_one_large_one(hundred: Story) -> None:
    other = Story()
    other.plan(100, "2026-01-01")
    other.wait("2027-01-01")
    for _ in range(12):
        hundred.wait("2027-01-01", timers_max=1)

    assert hundred.log == other.log


def test_an_account_without_a_plan_has_no_timers(story: Story) -> None:
    story.generate("ann")

    assert story.wait("2030-01-01").decisions == []
