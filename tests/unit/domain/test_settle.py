"""Late events: a prospect ends as if all events had come in order of occurrence."""

from __future__ import annotations

from credit_service.domain.rules import LateRefund, Rules
from support.domain import Story, time


def borne(story: Story, name: str = "ann") -> list[tuple[str, bool]]:
    """The origin of each stay, and whether it has a charge that was not refunded."""
    prospect = story.prospect(name)
    assert prospect is not None
    stays = [(stay, prospect.charge_of(stay)) for stay in prospect.stays()]
    return [(stay.origin, charge is not None and not charge.is_settled) for stay, charge in stays]


def test_a_delete_before_its_charge_arrives_ends_it(hundred: Story) -> None:
    assert hundred.delete("ann", "2026-01-03") == "no-effect"
    assert hundred.generate("ann", "2026-01-02") == "charged"
    assert hundred.generate("ann", "2026-01-04") == "charged"
    assert hundred.balance == 98


def test_a_delete_of_what_was_never_on_the_account_does_not_end_what_comes_later(hundred: Story) -> None:
    hundred.delete("ann", "2026-01-02")

    assert hundred.generate("ann", "2026-01-03") == "charged"
    assert hundred.export("ann", "2026-01-04") == "free"


def test_a_late_delete_parts_a_stay_in_two_and_charges_the_second(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02", event_id="first")
    assert hundred.export("ann", "2026-01-04", event_id="second") == "free"

    assert hundred.delete("ann", "2026-01-03") == "deleted"
    assert hundred.log == ["plan_change +100", "charge -1", "charge -1"]
    charge = hundred.changes[-1]
    assert (charge.cause.id, charge.cause.type, charge.occurred_at) == (
        "second",
        "prospect-exported",
        time("2026-01-04"),
    )
    assert borne(hundred) == [("generated", True), ("exported", True)]


def test_what_brought_the_second_stay_on_was_decided_before_and_stays_free(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.generate("ann", "2026-01-04")
    hundred.delete("ann", "2026-01-03")

    assert [d.outcome for d in hundred.decisions[1:]] == ["charged", "free", "deleted"]
    assert hundred.changes[-1].cause.position == hundred.decisions[2].position


def test_a_late_delete_costs_nothing_where_the_second_stay_was_imported(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.imports("ann", "2026-01-04")
    hundred.delete("ann", "2026-01-03")

    assert hundred.log == ["plan_change +100", "charge -1"]
    assert borne(hundred) == [("generated", True), ("imported", False)]


def test_a_second_stay_that_cannot_be_covered_was_not_brought_onto_the_account(story: Story) -> None:
    story.plan(1, "2026-01-01")
    story.generate("ann", "2026-01-02")
    story.generate("ann", "2026-01-04")

    assert story.delete("ann", "2026-01-03") == "deleted"
    assert story.log == ["plan_change +1", "charge -1"]
    assert borne(story) == [("generated", True)]


def test_a_late_delete_leaves_a_bounce_with_the_stay_that_it_falls_into(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.generate("ann", "2026-01-04")
    hundred.bounce("ann", "2026-01-05")
    hundred.delete("ann", "2026-01-03")

    assert hundred.log == ["plan_change +100", "charge -1", "refund +1", "charge -1"]
    assert borne(hundred) == [("generated", True), ("generated", False)]


def test_a_late_delete_before_a_bounce_that_was_refunded_charges_again(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.bounce("ann", "2026-01-05")

    assert hundred.delete("ann", "2026-01-03") == "deleted"
    assert hundred.log == ["plan_change +100", "charge -1", "refund +1", "charge -1"]
    assert borne(hundred) == [("generated", True)]


def test_a_bounce_between_a_late_delete_and_the_next_stay_refunds_neither(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.bounce("ann", "2026-01-04")
    hundred.generate("ann", "2026-01-05")
    hundred.delete("ann", "2026-01-03")

    assert hundred.balance == 98
    assert borne(hundred) == [("generated", True), ("generated", True)]


def test_a_late_delete_before_a_wrong_email_takes_its_request_back_and_is_charged_once(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.stage("ann", "2026-01-05")

    assert hundred.delete("ann", "2026-01-03") == "deleted"
    assert hundred.balance == 99
    assert hundred.requests == {2: "overtaken"}


def test_a_wrong_email_before_a_late_delete_can_be_asked_for_again(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.stage("ann", "2026-01-06")
    hundred.delete("ann", "2026-01-04")

    assert hundred.stage("ann", "2026-01-03") == "refund-requested"
    assert hundred.requests == {2: "overtaken", 4: "waiting"}


def test_a_wrong_email_goes_with_the_stay_that_it_falls_into(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.generate("ann", "2026-01-04")
    hundred.stage("ann", "2026-01-05")
    hundred.delete("ann", "2026-01-03")

    assert hundred.requests == {2: "waiting"}
    assert hundred.decide_refund(2, "2026-01-06", approve=True) == "refunded"
    assert borne(hundred) == [("generated", True), ("generated", False)]


def test_a_late_import_gives_the_charge_back(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-03")

    assert hundred.imports("ann", "2026-01-02") == "refunded"
    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]
    charge, refund = hundred.changes[-2:]
    assert (refund.cause.type, refund.refunds_sequence) == ("prospect-imported", charge.sequence)
    assert borne(hundred) == [("imported", False)]


def test_what_a_late_import_gave_back_is_charged_again_if_a_delete_lay_between_them(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-04")
    hundred.imports("ann", "2026-01-02")

    assert hundred.delete("ann", "2026-01-03") == "deleted"
    assert hundred.log == ["plan_change +100", "charge -1", "refund +1", "charge -1"]
    assert borne(hundred) == [("imported", False), ("generated", True)]


def test_a_late_import_of_what_bounced_gives_nothing_more(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-03")
    hundred.bounce("ann", "2026-01-04")

    assert hundred.imports("ann", "2026-01-02") == "imported"
    assert hundred.balance == 100


def test_a_late_import_closes_an_open_request(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-03")
    hundred.stage("ann", "2026-01-04")

    assert hundred.imports("ann", "2026-01-02") == "refunded"
    assert hundred.requests == {2: "overtaken"}


def test_a_late_import_after_the_charge_changes_nothing(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.export("ann", "2026-01-05")

    assert hundred.imports("ann", "2026-01-03") == "no-effect"
    assert hundred.balance == 99


def test_a_late_import_can_be_forfeit_with_the_grant() -> None:
    story = Story(Rules(LateRefund("forfeit")))
    story.plan(100, "2026-01-01")
    story.generate("ann", "2026-01-03")
    story.wait("2026-02-02")

    assert story.imports("ann", "2026-01-02") == "forfeited"
    assert story.balance == 100


def test_a_late_charge_before_an_import_is_charged(hundred: Story) -> None:
    assert hundred.imports("ann", "2026-01-03") == "imported"
    assert hundred.generate("ann", "2026-01-02") == "charged"
    assert hundred.balance == 99
    assert borne(hundred) == [("generated", True)]


def test_a_late_charge_before_an_import_is_declined_where_nothing_is_left(story: Story) -> None:
    story.plan(0, "2026-01-01")
    story.imports("ann", "2026-01-03")

    assert story.generate("ann", "2026-01-02") == "declined"
    assert story.export("ann", "2026-01-04") == "free"
    assert borne(story) == [("imported", False)]


def test_what_was_charged_late_before_an_import_is_refunded_by_the_bounce_that_came_early(hundred: Story) -> None:
    hundred.imports("ann", "2026-01-03")
    assert hundred.bounce("ann", "2026-01-04") == "no-effect"
    hundred.generate("ann", "2026-01-02")

    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]


def test_an_earlier_export_makes_no_second_charge(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-03")

    assert hundred.export("ann", "2026-01-02") == "free"
    assert hundred.balance == 99


def test_a_bounce_for_an_earlier_stay_refunds_the_earlier_charge(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    hundred.delete("ann", "2026-01-04")
    hundred.generate("ann", "2026-01-05")

    assert hundred.bounce("ann", "2026-01-03") == "refunded"
    first, _, refund = hundred.changes[1:]
    assert refund.refunds_sequence == first.sequence
    assert borne(hundred) == [("generated", False), ("generated", True)]
    assert hundred.bounce("ann", "2026-01-06") == "refunded"
    assert hundred.balance == 100


def test_a_declined_prospect_leaves_no_trace_in_its_story(story: Story) -> None:
    story.plan(1, "2026-01-01")
    story.generate("ann", "2026-01-02")
    story.delete("ann", "2026-01-03")

    assert story.generate("ann", "2026-01-04") == "declined"
    assert borne(story) == [("generated", True)]


def test_a_second_delete_at_the_same_instant_finds_nothing(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")

    assert hundred.delete("ann", "2026-01-03") == "deleted"
    assert hundred.delete("ann", "2026-01-03") == "no-effect"


def test_a_stay_that_is_charged_anew_and_cannot_be_covered_is_dropped(story: Story) -> None:
    story.plan(1, "2026-01-01")
    story.generate("ann", "2026-01-02")
    story.bounce("ann", "2026-01-05")
    story.generate("bob", "2026-01-06")

    assert story.delete("ann", "2026-01-04") == "no-effect"
    assert (story.balance, story.generate("ann", "2026-01-07")) == (0, "declined")
