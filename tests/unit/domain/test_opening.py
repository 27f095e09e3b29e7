from __future__ import annotations

from dataclasses import replace

import pytest

from credit_contracts.outgoing import SERVICE_SOURCE, BalanceChanged
from credit_service.domain.command import CommandData, OpenAccount, OpenProspect, command_of
from credit_service.domain.published import balance_changed
from support.domain import ACCOUNT, Story, time
from support.published import read_back


@pytest.fixture
def opened(story: Story) -> Story:
    """An account with 100 credits a month from the first on, opened on 10 January with 40 of them left."""
    story.open_account(100, "2026-01-10", remaining=40)
    return story


def grants(story: Story) -> list[tuple[str, int, str | None]]:
    return [(g.origin, g.remaining, f"{g.expires_at:%Y-%m-%d}" if g.expires_at else None) for g in story.grants]


def test_an_account_is_opened_with_what_is_left_of_its_month(story: Story) -> None:
    assert story.open_account(100, "2026-01-10", remaining=40) == "opened"
    assert story.log == ["opening +40"]
    assert grants(story) == [("opening", 40, "2026-02-01")]
    plan = story.plan_in_force
    assert plan is not None
    assert (plan.plan_id, plan.monthly_credits, plan.effective_at) == ("plan", 100, time("2026-01-10"))


def test_an_opening_as_others_see_it(opened: Story) -> None:
    data = read_back(balance_changed(opened.changes[0])).data

    assert isinstance(data, BalanceChanged)
    assert (data.sequence, data.previous_balance, data.balance, data.delta) == (1, 0, 40, 40)
    assert (data.reason, data.cause.source, data.cause.id, data.cause.type) == (
        "opening",
        SERVICE_SOURCE,
        "opening",
        "opening",
    )
    assert (data.occurred_at, data.period_ends_at) == (time("2026-01-10"), time("2026-02-01"))


def test_the_month_after_an_opening_is_a_month_like_any_other(opened: Story) -> None:
    assert opened.wait("2026-02-01").log == ["opening +40", "lapse -40", "renewal +100"]


def test_an_account_with_nothing_left_is_opened_without_a_change(story: Story) -> None:
    assert story.open_account(100, "2026-01-10") == "opened"
    assert story.log == []
    assert story.generate("ann") == "declined"
    assert story.wait("2026-02-01").log == ["renewal +100"]


def test_an_account_may_have_more_left_than_its_plan_gives(story: Story) -> None:
    story.open_account(100, "2026-01-10", remaining=250)

    assert story.balance == 250
    assert story.wait("2026-02-01").log == ["opening +250", "lapse -250", "renewal +100"]


def test_an_unlimited_account_is_opened_as_a_switch_from_nothing(story: Story) -> None:
    assert story.open_account(None, "2026-01-10") == "opened"
    assert [(c.reason, c.delta, c.previous_balance, c.balance) for c in story.changes] == [("opening", 0, 0, None)]
    assert story.generate("ann") == "charged"


def test_what_an_unlimited_account_has_left_lies_beneath(story: Story) -> None:
    story.open_account(None, "2026-01-10", remaining=30)

    assert [(c.reason, c.delta, c.balance) for c in story.changes] == [("opening", 30, None)]
    assert story.held == 30


@pytest.mark.parametrize(
    ("anchor", "zone", "begins", "ends"),
    [
        ("2025-08-31", "UTC", "2026-02-28", "2026-03-31"),
        ("2024-02-29", "UTC", "2026-02-28", "2026-03-29"),
        ("2025-12-30", "UTC", "2026-02-28", "2026-03-30"),
        ("2026-03-15", "UTC", "2026-02-15", "2026-03-15"),
        ("2026-01-01 00:00+01:00", "Europe/Berlin", "2026-02-28 23:00", "2026-03-31 22:00"),
    ],
)
def test_the_month_is_counted_from_an_anchor_long_ago(
    story: Story, anchor: str, zone: str, begins: str, ends: str
) -> None:
    story.open_account(100, "2026-03-10", remaining=1, anchor=anchor, zone=zone)

    assert story.period is not None
    assert (story.period.starts_at, story.period.ends_at) == (time(begins), time(ends))
    assert story.grants[0].expires_at == time(ends)


@pytest.mark.parametrize(("limit", "more"), [(100, 0), (30, 0), (150, 50)])
def test_an_upgrade_after_an_opening_gives_only_what_is_more(opened: Story, limit: int, more: int) -> None:
    assert opened.plan(limit, "2026-01-20") == "plan-in-force"
    assert opened.balance == 40 + more


def test_an_unlimited_account_that_comes_to_a_plan_gets_its_credits(story: Story) -> None:
    story.open_account(None, "2026-01-10")
    story.plan(100, "2026-01-20")

    assert story.balance == 100


def test_a_plan_older_than_the_opening_is_superseded(opened: Story) -> None:
    assert opened.plan(500, "2026-01-09") == "plan-superseded"
    assert opened.plan(500, "2026-01-11", effective="2026-01-05") == "plan-superseded"
    assert opened.wait("2026-02-01").log[-1] == "renewal +100"


def test_an_anchor_named_after_the_opening_is_ignored(opened: Story) -> None:
    opened.plan(100, "2026-01-20", anchor="2026-01-15")

    assert opened.decisions[-1].note is not None
    assert opened.wait("2026-01-31").log == ["opening +40"]


def test_what_waited_for_a_plan_is_decided_after_all_that_is_opened(story: Story) -> None:
    story.generate("third", "2026-01-05")
    story.generate("second", "2026-01-04")
    story.export("owned", "2026-01-03")
    story.open_account(100, "2026-01-10", remaining=1)
    story.open_prospect("owned", "generated")
    story.wait("2026-01-10")

    assert [(d.type, d.prospect_id, d.outcome) for d in story.decisions] == [
        ("opening", None, "opened"),
        ("opening", "owned", "opened"),
        ("prospect-exported", "owned", "free"),
        ("prospect-generated", "second", "charged"),
        ("prospect-generated", "third", "declined"),
    ]
    assert story.waiting == 0


def test_an_account_is_opened_once(opened: Story) -> None:
    decisions = len(opened.decisions)

    assert opened.open_account(100, "2026-03-03", remaining=40) == "opened"
    assert (opened.log, len(opened.decisions)) == (["opening +40"], decisions)


def test_opening_an_account_otherwise_the_second_time_is_a_conflict(opened: Story) -> None:
    assert opened.open_account(100, "2026-01-11", remaining=41) == "conflict"
    assert opened.balance == 40


def test_an_account_with_a_plan_cannot_be_opened(hundred: Story) -> None:
    assert hundred.open_account(100, "2026-01-11", remaining=40) == "has-a-plan"
    assert hundred.balance == 100


def test_an_account_whose_first_plan_is_still_to_come_cannot_be_opened(story: Story) -> None:
    story.plan(100, "2026-01-01", effective="2026-01-20")

    assert story.open_account(100, "2026-01-11", remaining=40) == "has-a-plan"


def test_seats_and_email_accounts_come_with_it(story: Story) -> None:
    story.ordered(OpenAccount("plan", 100, 5, 7, time("2026-01-01"), "UTC", 0), "2026-01-10")
    story.plan(200, "2026-01-20", seats=6)

    plan = story.plan_in_force
    assert plan is not None
    assert (plan.seats, plan.email_accounts) == (6, 7)


def test_what_is_left_of_a_purchase_is_opened_beside_the_months(opened: Story) -> None:
    assert opened.open_purchase(20, name="first", expires="2026-06-01") == "opened"
    assert opened.open_purchase(30, name="second") == "opened"
    assert opened.log == ["opening +40", "opening +20", "opening +30"]
    assert grants(opened)[1:] == [("purchase", 20, "2026-06-01"), ("purchase", 30, None)]
    assert opened.decisions[-1].id == "opening:purchase:second"


def test_an_opened_purchase_expires_on_its_instant(opened: Story) -> None:
    opened.open_purchase(20, name="first", expires="2026-01-20")

    assert opened.wait("2026-01-20").log[-1] == "lapse -20"


def test_the_purchase_itself_counts_no_more(opened: Story) -> None:
    opened.open_purchase(20, name="first")

    assert opened.purchase(100, name="first") == "no-effect"
    assert opened.balance == 60


def test_a_purchase_that_counts_already_is_not_opened(hundred: Story) -> None:
    hundred.purchase(50, name="first")

    assert hundred.open_purchase(20, name="first") == "purchase-known"
    assert hundred.balance == 150


@pytest.mark.parametrize(("expires", "answer"), [("2026-01-11", "expired"), ("2026-01-11 00:00:00.000001", "opened")])
def test_what_has_expired_is_not_opened(opened: Story, expires: str, answer: str) -> None:
    assert opened.open_purchase(20, "2026-01-11", name="first", expires=expires) == answer


def test_a_purchase_is_opened_once(opened: Story) -> None:
    opened.open_purchase(20, name="first")

    assert opened.open_purchase(20, "2026-03-03", name="first") == "opened"
    assert opened.open_purchase(21, name="first") == "conflict"
    assert opened.log == ["opening +40", "opening +20"]


def test_nothing_is_opened_before_the_account(story: Story) -> None:
    assert story.open_purchase(20, name="first") == "not-open"
    assert story.open_prospect("ann", "generated") == "not-open"
    assert story.decisions == []


def test_what_was_refused_may_be_opened_later(story: Story) -> None:
    story.open_purchase(20, name="first")
    story.plan(100)

    assert story.open_purchase(20, name="first") == "opened"


def test_a_purchase_that_waits_counts_no_more_once_it_is_opened(story: Story) -> None:
    story.purchase(50, "2026-01-02", name="first")
    story.open_account(100, "2026-01-10", remaining=10)
    story.open_purchase(20, name="first")
    story.wait("2026-01-10")

    assert (story.decisions[-1].type, story.decisions[-1].outcome) == ("credits-purchased", "no-effect")
    assert story.balance == 30


@pytest.mark.parametrize("origin", ["generated", "exported", "imported"])
def test_a_prospect_from_before_is_free_and_changes_no_balance(opened: Story, origin: str) -> None:
    assert opened.open_prospect("ann", origin) == "opened"  # type: ignore[arg-type]
    assert [opened.generate("ann"), opened.export("ann"), opened.imports("ann")] == ["free", "free", "no-effect"]
    assert opened.log == ["opening +40"]


@pytest.mark.parametrize("origin", ["generated", "exported"])
def test_a_bounce_of_what_was_paid_for_before_is_a_late_refund(opened: Story, origin: str) -> None:
    opened.open_prospect("ann", origin)  # type: ignore[arg-type]

    assert opened.bounce("ann") == "refunded"
    assert grants(opened) == [("opening", 40, "2026-02-01"), ("refund", 1, "2026-02-01")]
    assert opened.changes[-1].refunds_sequence == -2
    assert opened.bounce("ann") == "no-effect"


def test_a_bounce_of_what_was_imported_before_gives_nothing(opened: Story) -> None:
    opened.open_prospect("ann", "imported")

    assert opened.bounce("ann") == "no-effect"


def test_a_bounce_of_what_came_onto_an_unlimited_account_has_nothing_in_it(story: Story) -> None:
    story.open_account(None, "2026-01-10")
    story.open_prospect("ann", "generated")
    story.plan(100)

    assert story.bounce("ann") == "refunded"
    assert story.log[-1] == "refund +0"


def test_what_is_deleted_costs_again(opened: Story) -> None:
    opened.open_prospect("ann", "generated")
    opened.delete("ann")

    assert opened.generate("ann") == "charged"
    assert opened.balance == 39


def test_a_late_import_gives_nothing_back_for_what_came_from_before(opened: Story) -> None:
    opened.open_prospect("ann", "generated")

    assert opened.imports("ann", "2025-06-01") == "no-effect"
    assert opened.balance == 40


def test_a_bounce_that_came_before_the_opening_of_its_prospect_refunds_it(opened: Story) -> None:
    assert opened.bounce("ann") == "awaiting-charge"
    opened.open_prospect("ann", "exported")

    assert opened.log == ["opening +40", "refund +1"]
    refund = opened.changes[-1]
    assert (refund.cause.type, refund.refunds_sequence) == ("email-bounced", -3)


def test_a_prospect_that_is_known_is_not_opened(opened: Story) -> None:
    opened.generate("ann")
    opened.imports("bob")
    opened.generate("cy")
    opened.delete("cy")

    assert [opened.open_prospect(name, "generated") for name in ("ann", "bob", "cy")] == ["prospect-known"] * 3


def test_a_prospect_is_opened_once(opened: Story) -> None:
    opened.open_prospect("ann", "generated")

    assert opened.open_prospect("ann", "generated", "2026-03-03") == "opened"
    assert opened.open_prospect("ann", "imported") == "conflict"


def test_what_was_opened_is_told_by_its_decision(opened: Story) -> None:
    opened.open_prospect("ann", "exported")

    decision = opened.decisions[-1]
    assert (decision.id, decision.type, decision.outcome) == ("opening:prospect:ann", "opening", "opened")
    assert (decision.prospect_id, decision.note, decision.place) == ("ann", "exported", None)


def open_more(story: Story, data: CommandData, at: str, *, more: bool) -> str:
    always, story.now = story.now, time(at)
    decided = story.batch([replace(command_of(ACCOUNT, data), leaves_open=more)])
    story.now = always
    return decided.answers[0].outcome


ACCOUNT_DATA = OpenAccount("plan", 10, None, None, time("2026-01-01"), "UTC", 5)


@pytest.fixture
def half(story: Story) -> Story:
    """An account of which more is to be opened."""
    assert open_more(story, ACCOUNT_DATA, "2026-01-10", more=True) == "opened"
    return story


def test_events_wait_until_all_is_opened(half: Story) -> None:
    assert half.generate("owned", "2026-01-10 01:00") == "parked"
    assert half.plan(99, "2026-01-10 02:00") == "parked"
    half.wait("2026-01-11")
    assert (half.waiting, half.log) == (2, ["opening +5"])

    assert open_more(half, OpenProspect("owned", "generated"), "2026-01-12", more=False) == "opened"
    half.wait("2026-01-12")
    assert half.waiting == 0
    assert [d.outcome for d in half.decisions] == ["opened", "opened", "free", "plan-in-force"]


def test_months_do_not_turn_until_all_is_opened(half: Story) -> None:
    half.wait("2026-02-02")
    assert open_more(half, OpenProspect("ann", "imported"), "2026-02-03", more=True) == "opened"
    assert half.log == ["opening +5"]

    assert open_more(half, OpenProspect("bob", "imported"), "2026-02-03", more=False) == "opened"
    half.wait("2026-02-04")
    assert half.log == ["opening +5", "lapse -5", "renewal +10"]


def test_nobody_orders_anything_until_all_is_opened(half: Story) -> None:
    assert half.adjust(5, "2026-01-11") == "being-opened"
    assert half.decide_refund(1, "2026-01-11", approve=True) == "being-opened"

    assert open_more(half, OpenProspect("ann", "imported"), "2026-01-12", more=False) == "opened"
    assert half.adjust(5, "2026-01-13") == "adjusted"


def test_what_was_all_opened_before_begins_no_waiting(half: Story) -> None:
    assert open_more(half, ACCOUNT_DATA, "2026-01-11", more=False) == "opened"
    assert open_more(half, ACCOUNT_DATA, "2026-01-12", more=True) == "opened"
    assert half.generate("ann", "2026-01-12 01:00") == "charged"


def test_more_of_an_account_that_lives_has_what_comes_meanwhile_wait(hundred: Story) -> None:
    assert open_more(hundred, ACCOUNT_DATA, "2026-01-11", more=True) == "has-a-plan"
    assert hundred.generate("ann", "2026-01-11 01:00") == "charged"
    assert open_more(hundred, OpenProspect("bob", "generated"), "2026-01-12", more=True) == "opened"
    assert hundred.generate("cy", "2026-01-12 01:00") == "parked"


def test_an_account_that_was_refused_waits_for_its_plan_as_any_other(story: Story) -> None:
    assert open_more(story, OpenProspect("ann", "generated"), "2026-01-11", more=True) == "not-open"
    assert story.plan(5, "2026-01-12") == "plan-in-force"


def test_being_opened_lasts_from_the_first_of_its_rows_on(half: Story) -> None:
    open_more(half, OpenProspect("ann", "generated"), "2026-01-12", more=True)
    assert half.rows.accounts[ACCOUNT]["opening_since"] == time("2026-01-10")
