from __future__ import annotations

from support.domain import Story, time


def test_a_bounce_gives_the_credit_back_to_the_grant_it_came_from(hundred: Story) -> None:
    hundred.plan(150)
    hundred.generate("ann")

    assert hundred.bounce("ann") == "refunded"
    assert hundred.balance == 150
    assert [g.remaining for g in hundred.grants] == [100, 50]
    assert [change.lines for change in hundred.changes[-2:]] == [[(1, -1)], [(1, 1)]]


def test_a_bounce_of_an_exported_prospect_gives_the_credit_back(hundred: Story) -> None:
    hundred.export("ann")

    assert hundred.bounce("ann") == "refunded"
    assert hundred.balance == 100


def test_a_refund_names_its_charge(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.generate("bob")
    hundred.bounce("ann")

    charge, refund = hundred.changes[1], hundred.changes[-1]
    assert (charge.reason, refund.reason) == ("charge", "refund")
    assert refund.refunds_sequence == charge.sequence


def test_a_second_bounce_gives_nothing(hundred: Story) -> None:
    hundred.generate("ann")
    hundred.bounce("ann")

    assert hundred.bounce("ann") == "no-effect"
    assert hundred.bounce("ann", "2026-02-10") == "no-effect"
    assert hundred.balance == 100


def test_a_soft_bounce_gives_nothing(hundred: Story) -> None:
    hundred.generate("ann")

    assert hundred.bounce("ann", kind="soft") == "no-effect"
    assert hundred.balance == 99
    assert hundred.bounce("ann") == "refunded"


def test_a_soft_bounce_is_not_remembered(hundred: Story) -> None:
    hundred.bounce("ann", kind="soft")
    hundred.generate("ann")

    assert hundred.balance == 99


def test_a_bounce_before_its_charge_waits_for_it(hundred: Story) -> None:
    assert hundred.bounce("ann") == "awaiting-charge"
    assert hundred.generate("ann") == "charged"
    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]
    assert hundred.balance == 100


def test_the_remembered_bounce_is_the_cause_of_the_refund(hundred: Story) -> None:
    hundred.bounce("ann", "2026-01-05", event_id="the bounce")
    hundred.export("ann", event_id="the export")

    charge, refund = hundred.changes[1:]
    assert (charge.cause.id, charge.cause.type) == ("the export", "prospect-exported")
    assert (refund.cause.id, refund.cause.type) == ("the bounce", "email-bounced")
    assert (refund.cause.position, refund.cause.prospect_id) == (2, "ann")
    assert refund.occurred_at == time("2026-01-05")
    assert refund.refunds_sequence == charge.sequence


def test_the_first_of_several_early_bounces_is_remembered_and_refunds_once(hundred: Story) -> None:
    hundred.bounce("ann", event_id="first")
    assert hundred.bounce("ann", event_id="second") == "awaiting-charge"
    hundred.generate("ann")

    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]
    assert hundred.changes[-1].cause.id == "first"
    assert hundred.bounce("ann", event_id="third") == "no-effect"


def test_a_remembered_bounce_outlives_a_decline(story: Story) -> None:
    story.plan(0)
    story.bounce("ann")
    assert story.generate("ann") == "declined"
    story.plan(5)
    story.generate("ann")

    assert story.log == ["plan_change +5", "charge -1", "refund +1"]


def test_a_bounce_of_what_was_declined_waits_for_a_charge(story: Story) -> None:
    story.plan(0)
    story.generate("ann")

    assert story.bounce("ann") == "awaiting-charge"
