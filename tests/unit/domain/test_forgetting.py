"""The history of a prospect is bounded: forgetting changes no charge, refund or request."""

from __future__ import annotations

from datetime import timedelta

import pytest

from credit_contracts.incoming import ProspectDeleted, ProspectGenerated
from credit_service import bounds
from credit_service.bounds import HISTORY_MAX
from credit_service.domain.event import Cause
from credit_service.domain.prospect import Charge, Prospect
from credit_service.domain.rules import LateRefund
from support.domain import ACCOUNT, Story, event, time
from support.small_bounds import SMALL, small_bounds

START = time("2026-01-01")
TYPES = {
    "G": "prospect-generated",
    "E": "prospect-exported",
    "I": "prospect-imported",
    "B": "email-bounced",
    "W": "prospect-stage-changed",
    "D": "prospect-deleted",
}
SMALLEST = SMALL["HISTORY_MAX"]


def report(story: Story, kinds: str, start: str | None = None) -> list[str]:
    """Sends events, such as `GBD`: generated, bounced, deleted, a minute apart; their outcomes."""
    steps = {"G": story.generate, "E": story.export, "I": story.imports}
    steps |= {"B": story.bounce, "W": story.stage, "D": story.delete}
    return [steps[kind]("ann", start if not n else None) for n, kind in enumerate(kinds)]


def kept_of(kinds: str, history_max: int) -> str:
    """The history that is kept of events in order, such as `GBD`."""
    prospect = Prospect("ann")
    with small_bounds(HISTORY_MAX=history_max):
        for number, kind in enumerate(kinds, start=1):
            at = START + timedelta(hours=number)
            prospect.record_event(Cause(number, "/tests", f"{number}", TYPES[kind], at, "ann"))
            prospect.forget()
    return "".join(kinds[cause.position - 1] + str(cause.position) for cause in prospect.history)


@pytest.mark.parametrize("exports", [30, 31, 45, 100])
def test_a_bounce_after_the_delete_gives_nothing_back_however_often_it_was_exported(
    hundred: Story, exports: int
) -> None:
    report(hundred, "G" + exports * "E" + "D")

    assert report(hundred, "B") == ["no-effect"]
    assert hundred.log == ["plan_change +100", "charge -1"]


@pytest.mark.parametrize("exports", [29, 31, 45])
def test_a_bounce_after_the_delete_is_not_one_of_the_next_stay(hundred: Story, exports: int) -> None:
    report(hundred, "G" + exports * "E" + "D")

    assert report(hundred, "BG") == ["no-effect", "charged"]
    assert hundred.log == ["plan_change +100", "charge -1", "charge -1"]


@pytest.mark.parametrize("exports", [31, 45, 100])
def test_one_that_was_imported_stays_so_after_a_wrong_email_before_it(hundred: Story, exports: int) -> None:
    assert report(hundred, "WI" + exports * "E") == ["awaiting-charge", "imported", *exports * ["free"]]

    assert hundred.log == ["plan_change +100"]
    assert hundred.requests == {}


@pytest.mark.parametrize("exports", [31, 45, 100])
def test_one_that_was_imported_stays_so_after_a_bounce_before_it(hundred: Story, exports: int) -> None:
    report(hundred, "BI" + exports * "E")

    assert hundred.log == ["plan_change +100"]


@pytest.mark.parametrize("flood", "EBW")
def test_the_wrong_email_that_asked_is_kept_whatever_floods(hundred: Story, flood: str) -> None:
    report(hundred, "GW" + 50 * flood)

    assert report(hundred, "DW") == ["deleted", "no-effect"]
    assert hundred.requests == {2: "overtaken" if flood == "B" else "waiting"}
    assert hundred.log == ["plan_change +100", "charge -1", *(["refund +1"] if flood == "B" else [])]


def test_an_early_bounce_refunds_its_charge_once_however_often_it_bounced(hundred: Story) -> None:
    assert report(hundred, 50 * "B" + "G") == [*50 * ["awaiting-charge"], "charged"]
    assert set(report(hundred, 50 * "B" + 50 * "E")) == {"no-effect", "free"}

    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]


def test_a_delete_that_comes_late_still_finds_that_the_prospect_was_brought_on_after_it(hundred: Story) -> None:
    hundred.generate("ann", "2026-01-02")
    report(hundred, 50 * "E", "2026-01-03")
    report(hundred, 50 * "B", "2026-01-04")

    assert hundred.delete("ann", "2026-01-02 12:00") == "deleted"
    assert hundred.log == ["plan_change +100", "charge -1", "refund +1", "charge -1"]
    assert hundred.delete("ann", "2026-01-05") == "deleted"


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ("GEEEEEEE", "G1E3E4E5E6E7E8"),
        ("GEEEEEEEEEEEB", "G1E8E9E10E11E12B13"),
        ("GWBWBWBEWBEWB", "G1W2B3B10E11W12B13"),
        ("BWBWBWBWBWBWB", "B1W2B9W10B11W12B13"),
        ("BWGBWEEEEBBBB", "B1W2G3B4W5E9B13"),
        ("BWGBWEEEEBBBBD", ""),
        ("GEEEEEEEEEEED", "G1E8E9E10E11E12D13"),
        ("GDGDGDGD", "G3D4G5D6G7D8"),
        ("GDDDDDDDDD", "D4D5D6D7D8D9D10"),
        ("GDBWBWBWBW", "G1D2B3W4W8B9W10"),
    ],
)
def test_repeats_go_first_and_then_what_ended_first(kinds: str, kept: str) -> None:
    assert kept_of(kinds, SMALLEST) == kept


def test_a_stay_without_an_end_never_takes_more_than_the_smallest_bound() -> None:
    for kinds in ("BWGBW" + 40 * "EBW", 40 * "BW" + 40 * "GEI", 30 * "IWBE"):
        kept = kept_of(kinds, 1)
        assert sum(letter.isalpha() for letter in kept) <= SMALLEST
        assert kept.endswith(f"{kinds[-1]}{len(kinds)}")


def test_the_history_is_bounded() -> None:
    prospect = Prospect("ann")
    for number in range(1, 100):
        at = START + timedelta(hours=number)
        prospect.record_event(Cause(number, "/tests", f"{number}", TYPES["E"], at, "ann"))
        prospect.forget()

    assert HISTORY_MAX == bounds.HISTORY_MAX == 32
    assert [cause.position for cause in prospect.history] == [1, *range(69, 100)]
    assert prospect.stays_past == 0


def test_an_event_of_a_closed_stay_is_too_late_and_without_effect(hundred: Story) -> None:
    for day in range(1, 18):
        assert hundred.generate("ann", f"2026-01-{day:02} 10:00") == "charged"
        assert hundred.delete("ann", f"2026-01-{day:02} 20:00") == "deleted"
    before, charged = hundred.prospect("ann"), hundred.log
    assert before is not None
    assert before.closed_until == time("2026-01-01 20:00")

    late = "2026-01-01 12:00"
    for step in (hundred.bounce, hundred.stage, hundred.export, hundred.generate, hundred.imports, hundred.delete):
        assert step("ann", late) == "too-late"
    assert hundred.bounce("ann", "2026-01-01 20:00") == "too-late"
    assert hundred.prospect("ann") == before
    assert (hundred.log, hundred.requests) == (charged, {})
    assert hundred.bounce("ann", "2026-01-02 12:00") == "refunded"
    assert hundred.bounce("ann", "2026-01-02 12:00") == "too-late"


def test_what_comes_late_is_settled_before_its_stay_is_closed(hundred: Story) -> None:
    for day in range(1, 17):
        report(hundred, "GD", f"2026-01-{day:02} 10:00")

    assert hundred.bounce("ann", "2026-01-01 10:00:30") == "refunded"
    assert hundred.bounce("ann", "2026-01-01 10:00:31") == "too-late"


def test_the_last_stay_may_be_closed_and_the_next_one_costs_again(hundred: Story) -> None:
    report(hundred, "G" + 40 * "D")

    assert report(hundred, "B") == ["no-effect"]
    assert report(hundred, "GB") == ["charged", "refunded"]
    assert hundred.log == ["plan_change +100", "charge -1", "charge -1", "refund +1"]


def test_nothing_but_what_was_closed_is_known_and_it_is_kept(hundred: Story) -> None:
    with small_bounds(HISTORY_MAX=1):
        report(hundred, "GD")
    prospect = hundred.prospect("ann")
    assert prospect is not None
    assert (prospect.history, prospect.charges, prospect.closed_until is None) == ([], [], False)

    assert hundred.generate("ann", "2026-01-01 00:00") == "too-late"
    assert report(hundred, "BG", "2026-01-02") == ["no-effect", "charged"]


def test_so_it_is_where_one_batch_brought_all_of_it(hundred: Story) -> None:
    generated, deleted = (
        ProspectGenerated(account_id=ACCOUNT, prospect_id="ann"),
        ProspectDeleted(account_id=ACCOUNT, prospect_id="ann"),
    )
    with small_bounds(HISTORY_MAX=1):
        hundred.batch([event(generated, time("2026-01-02"), "e-1"), event(deleted, time("2026-01-03"), "e-2")])

    assert hundred.bounce("ann", "2026-01-02 12:00") == "too-late"


def test_the_opening_of_a_prospect_is_in_its_history(hundred: Story) -> None:
    report(hundred, HISTORY_MAX * "B")
    assert hundred.open_prospect("ann", "generated") == "opened"

    prospect = hundred.prospect("ann")
    assert prospect is not None
    assert len(prospect.history) == HISTORY_MAX
    assert hundred.log == ["plan_change +100", "refund +1"]


@pytest.mark.parametrize("origin", ["generated", "imported"])
def test_a_prospect_of_which_something_was_closed_is_not_opened(hundred: Story, origin: str) -> None:
    report(hundred, 40 * "D")

    assert hundred.open_prospect("ann", "generated" if origin == "generated" else "imported") == "prospect-known"
    assert hundred.open_prospect("bob", "generated") == "opened"


@pytest.mark.parametrize("approve", [True, False])
def test_a_request_outlives_the_close_of_its_stay(hundred: Story, *, approve: bool) -> None:
    report(hundred, "GW")
    report(hundred, 20 * "DG")
    assert hundred.bounce("ann", "2026-01-01 00:01") == "too-late"

    assert hundred.requests == {2: "waiting"}
    assert hundred.decide_refund(2, approve=approve) == ("refunded" if approve else "rejected")
    assert hundred.decide_refund(2, approve=True, command="c-2") == "already-decided"
    assert hundred.log[-1] == ("refund +1" if approve else "charge -1")


@pytest.mark.parametrize("late_refund", [LateRefund(), LateRefund("forfeit")])
def test_so_does_one_of_a_prospect_that_was_opened(late_refund: LateRefund) -> None:
    story = Story()
    story.rules = type(story.rules)(late_refund)
    story.open_account(100, "2026-01-01", remaining=50)
    story.open_prospect("ann", "generated", "2026-01-01")
    report(story, "W" + 20 * "DG", "2026-01-02")

    assert story.requests == {-2: "waiting"}
    assert story.decide_refund(-2, approve=True) == ("forfeited" if late_refund.kind == "forfeit" else "refunded")
    assert story.generate("ann") == "free"
    assert story.decide_refund(-2, approve=True, command="c-2") == "already-decided"


def test_a_request_on_an_unlimited_plan_has_no_credits_in_it_after_the_close_either() -> None:
    story = Story()
    story.plan(None, "2026-01-01")
    report(story, "GW" + 20 * "DG")

    assert story.decide_refund(2, approve=True) == "refunded"
    assert story.log[-1] == "refund +0"


def test_what_is_forfeit_of_a_closed_stay_is_gone() -> None:
    story = Story()
    story.rules = type(story.rules)(LateRefund("forfeit"))
    story.plan(100, "2026-01-01")
    story.generate("ann", "2026-01-02")
    assert story.bounce("ann", "2026-02-02") == "forfeited"
    report(story, 20 * "DG")

    prospect = story.prospect("ann")
    assert prospect is not None
    assert all(not prospect.is_closed_at(charge.at) for charge in prospect.charges)
    assert sum(step == "charge -1" for step in story.log) == 21


def test_a_forfeit_charge_of_no_stay_may_be_closed_while_its_row_shows_it() -> None:
    story = Story()
    story.rules = type(story.rules)(LateRefund("forfeit"))
    story.plan(100, "2026-01-01")
    story.generate("ann", "2026-01-03")
    assert story.stage("ann", "2026-01-10") == "refund-requested"
    story.wait("2026-02-01")
    assert story.imports("ann", "2026-01-02") == "forfeited"
    assert story.delete("ann", "2026-01-05") == "deleted"
    assert story.delete("ann", "2026-02-02") == "no-effect"
    assert (ACCOUNT, "ann") in story.rows.prospects
    with small_bounds(HISTORY_MAX=SMALLEST):
        report(story, "IED", "2026-02-03")
        before = story.prospect("ann")
        report(story, "IED", "2026-02-04")

    after = story.prospect("ann")
    assert before is not None
    assert after is not None
    assert (len(before.charges), len(after.charges)) == (1, 0)
    assert after.stays_past == before.stays_past + 1 == 2


def test_a_close_counts_what_is_no_longer_shown() -> None:
    prospect = Prospect("ann", charges=[Charge(2, 1, START + timedelta(hours=1))])
    with small_bounds(HISTORY_MAX=1):
        for number, kind in enumerate("GD", start=1):
            at = START + timedelta(hours=number)
            prospect.record_event(Cause(number, "/tests", f"{number}", TYPES[kind], at, "ann"))
        prospect.forget()

    assert (prospect.stays(), prospect.charges, prospect.stays_past) == ([], [], 2)
