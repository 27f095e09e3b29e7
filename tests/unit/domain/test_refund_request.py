from __future__ import annotations

import pytest

from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.command import DecideRefund, command_of
from credit_service.domain.published import balance_changed
from credit_service.domain.rules import LateRefund, Rules
from support.domain import ACCOUNT, Story, time
from support.published import read_back


@pytest.fixture
def requested(hundred: Story) -> Story:
    """An account with a refund request for the charge with sequence 2."""
    hundred.generate("ann", "2026-01-05")
    hundred.stage("ann", "2026-01-06")
    return hundred


def test_a_wrong_email_asks_a_person_and_changes_no_balance(hundred: Story) -> None:
    hundred.generate("ann")

    assert hundred.stage("ann") == "refund-requested"
    assert hundred.requests == {2: "waiting"}
    assert hundred.log == ["plan_change +100", "charge -1"]
    request = hundred.rows.requests[ACCOUNT, 2]
    assert (request.prospect_id, request.position) == ("ann", 3)


def test_a_charge_is_asked_about_once(requested: Story) -> None:
    assert requested.stage("ann") == "no-effect"
    assert requested.stage("ann", "2026-05-05") == "no-effect"
    assert requested.requests == {2: "waiting"}


def test_each_charge_has_a_request_of_its_own(requested: Story) -> None:
    requested.delete("ann")
    requested.generate("ann")

    assert requested.stage("ann") == "refund-requested"
    assert requested.requests == {2: "waiting", 3: "waiting"}


@pytest.mark.parametrize("stage", ["wrong_email", "Wrong-Email", "wrong-email ", "contacted"])
def test_other_stages_ask_nothing(hundred: Story, stage: str) -> None:
    hundred.generate("ann")

    assert hundred.stage("ann", stage=stage) == "no-effect"
    assert hundred.requests == {}


def test_nothing_is_asked_about_what_was_imported(hundred: Story) -> None:
    hundred.imports("ann")

    assert hundred.stage("ann") == "no-effect"
    assert hundred.requests == {}


def test_nothing_is_asked_about_what_was_refunded(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.bounce("ann")

    assert hundred.stage("ann") == "no-effect"
    assert hundred.requests == {}


def test_nothing_is_asked_about_what_was_forfeited() -> None:
    story = Story(Rules(LateRefund("forfeit")))
    story.plan(100, "2026-01-01")
    story.generate("ann")
    story.bounce("ann", "2026-02-02")

    assert story.stage("ann") == "no-effect"


def test_a_wrong_email_before_its_charge_waits_for_it(hundred: Story) -> None:
    assert hundred.stage("ann") == "awaiting-charge"
    assert hundred.generate("ann") == "charged"
    assert hundred.requests == {2: "waiting"}


def test_a_wrong_email_that_came_early_is_forgotten_with_a_delete(hundred: Story) -> None:
    hundred.stage("ann")
    hundred.delete("ann")
    hundred.generate("ann")

    assert hundred.requests == {}


def test_a_bounce_overtakes_the_request(requested: Story) -> None:
    assert requested.bounce("ann") == "refunded"
    assert requested.requests == {2: "overtaken"}
    assert requested.decide_refund(2, approve=True) == "already-refunded"
    assert requested.decide_refund(2, approve=False, command="c-2") == "already-refunded"
    assert requested.balance == 100


def test_of_an_early_bounce_and_an_early_wrong_email_only_the_refund_is_left(hundred: Story) -> None:
    hundred.stage("ann")
    hundred.bounce("ann")
    hundred.generate("ann")

    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]
    assert "waiting" not in hundred.requests.values()


def test_a_delete_leaves_the_request_open(requested: Story) -> None:
    requested.delete("ann")
    requested.generate("ann")

    assert requested.requests == {2: "waiting"}
    assert requested.decide_refund(2, approve=True) == "refunded"
    assert requested.changes[-1].refunds_sequence == 2
    assert requested.balance == 99


def test_an_approved_refund_goes_home(requested: Story) -> None:
    assert requested.decide_refund(2, approve=True) == "refunded"
    assert requested.requests == {2: "approved"}
    assert requested.balance == 100
    refund = requested.changes[-1]
    assert (refund.reason, refund.lines, refund.refunds_sequence) == ("refund", [(1, 1)], 2)


def test_the_decision_is_the_cause_of_the_refund(requested: Story) -> None:
    requested.decide_refund(2, "2026-01-07", approve=True, command="c-7")

    decision, published = requested.decisions[-1], read_back(balance_changed(requested.changes[-1]))
    assert (decision.source, decision.id, decision.type) == (SERVICE_SOURCE, "refund:c-7", "refund-approved")
    assert (decision.outcome, decision.prospect_id, decision.place) == ("refunded", "ann", None)
    assert (published.data.cause.source, published.data.cause.id, published.data.cause.type) == (
        "/credit-service",
        "refund:c-7",
        "refund-approved",
    )
    assert (published.data.prospect_id, published.data.occurred_at) == ("ann", time("2026-01-07"))


def test_an_approved_refund_whose_grant_is_gone_is_late(requested: Story) -> None:
    assert requested.decide_refund(2, "2026-02-10", approve=True) == "refunded"
    assert [(g.origin, g.remaining, g.expires_at) for g in requested.grants] == [
        ("plan", 100, time("2026-03-01")),
        ("refund", 1, time("2026-03-01")),
    ]


def test_an_approved_refund_can_be_forfeit() -> None:
    story = Story(Rules(LateRefund("forfeit")))
    story.plan(100, "2026-01-01")
    story.generate("ann", "2026-01-05")
    story.stage("ann")

    assert story.decide_refund(2, "2026-02-10", approve=True) == "forfeited"
    assert story.requests == {2: "approved"}
    assert story.balance == 100


def test_a_decision_turns_the_month_first(requested: Story) -> None:
    requested.decide_refund(2, "2026-02-01", approve=True)

    assert requested.log[-3:] == ["lapse -99", "renewal +100", "refund +1"]


def test_a_rejected_refund_gives_nothing_and_is_never_asked_again(requested: Story) -> None:
    assert requested.decide_refund(2, approve=False) == "rejected"
    assert requested.requests == {2: "rejected"}
    assert requested.decisions[-1].type == "refund-rejected"
    assert requested.stage("ann") == "no-effect"
    assert requested.log == ["plan_change +100", "charge -1"]


def test_a_bounce_refunds_also_what_was_rejected(requested: Story) -> None:
    requested.decide_refund(2, approve=False)

    assert requested.bounce("ann") == "refunded"
    assert requested.requests == {2: "rejected"}


def test_a_bounce_after_an_approved_refund_gives_nothing_more(requested: Story) -> None:
    requested.decide_refund(2, approve=True)

    assert requested.bounce("ann") == "no-effect"
    assert requested.balance == 100


@pytest.mark.parametrize(("approve", "answer"), [(True, "refunded"), (False, "rejected")])
def test_the_same_order_again_has_the_same_answer_and_no_second_effect(
    requested: Story, answer: str, *, approve: bool
) -> None:
    requested.decide_refund(2, approve=approve)
    before = (list(requested.log), len(requested.decisions))

    assert requested.decide_refund(2, "2026-05-05", approve=approve) == answer
    assert (requested.log, len(requested.decisions)) == before


def test_the_same_order_twice_in_one_batch_is_once(requested: Story) -> None:
    order = command_of(ACCOUNT, DecideRefund(2, is_approved=True, operator="ops", reason="why"), "c-1")
    answers = requested.batch([order, order]).answers

    assert [(answer.outcome, answer.is_new) for answer in answers] == [("refunded", True), ("refunded", False)]


def test_an_order_of_the_same_name_that_says_something_else_is_a_conflict(requested: Story) -> None:
    requested.decide_refund(2, approve=False)

    assert requested.decide_refund(2, approve=True) == "conflict"
    assert requested.decide_refund(3, approve=False) == "conflict"
    assert requested.requests == {2: "rejected"}


@pytest.mark.parametrize("sequence", [1, 3, -2, 99])
def test_what_was_never_asked_about_cannot_be_decided(requested: Story, sequence: int) -> None:
    assert requested.decide_refund(sequence, approve=True) == "unknown-request"
    assert requested.requests == {2: "waiting"}


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_a_request_is_decided_once(requested: Story, *, first: bool, again: bool) -> None:
    requested.decide_refund(2, approve=first)
    decisions = len(requested.decisions)

    assert requested.decide_refund(2, approve=again, command="c-2") == "already-decided"
    assert len(requested.decisions) == decisions


def test_two_people_in_one_batch_decide_once(requested: Story) -> None:
    orders = [
        command_of(ACCOUNT, DecideRefund(2, is_approved=approved, operator="ops", reason="why"), name)
        for approved, name in ((False, "c-1"), (True, "c-2"))
    ]

    assert [answer.outcome for answer in requested.batch(orders).answers] == ["rejected", "already-decided"]


def test_an_order_that_was_refused_may_be_given_again(hundred: Story) -> None:
    hundred.generate("ann")
    assert hundred.decide_refund(2, approve=True) == "unknown-request"
    hundred.stage("ann")

    assert hundred.decide_refund(2, approve=True) == "refunded"


def test_what_still_waits_is_decided_before_an_order() -> None:
    story = Story(Rules(unparked_max=3))
    story.generate("ann")
    story.stage("ann")
    story.generate("bob")
    story.bounce("ann")
    story.plan(10)

    assert (story.waiting, story.requests) == (1, {2: "waiting"})
    assert story.decide_refund(2, approve=True) == "already-refunded"
    assert story.log[-1] == "refund +1"


def test_the_approved_refund_of_an_unlimited_charge_has_nothing_in_it(story: Story) -> None:
    story.plan(None)
    story.generate("ann")
    story.stage("ann")

    assert story.decide_refund(2, approve=True) == "refunded"
    refund = story.changes[-1]
    assert (refund.reason, refund.sequence, refund.delta, refund.balance) == ("refund", 3, 0, None)


def test_the_approved_refund_of_a_paid_charge_goes_home_beneath_an_unlimited_plan(requested: Story) -> None:
    requested.plan(None)
    requested.decide_refund(2, approve=True)

    assert (requested.log[-1], requested.balance, requested.held) == ("refund +1", None, 100)


@pytest.mark.parametrize("origin", ["generated", "exported"])
def test_a_prospect_from_before_is_asked_about_under_a_negative_number(story: Story, origin: str) -> None:
    story.open_account(100, "2026-01-10", remaining=50)
    story.open_prospect("ann", origin)  # type: ignore[arg-type]

    assert story.stage("ann") == "refund-requested"
    assert story.requests == {-2: "waiting"}
    assert story.decide_refund(-2, approve=True) == "refunded"
    assert (story.changes[-1].refunds_sequence, story.balance) == (-2, 51)


def test_nothing_is_asked_about_an_import_from_before(story: Story) -> None:
    story.open_account(100, "2026-01-10")
    story.open_prospect("ann", "imported")

    assert story.stage("ann") == "no-effect"
