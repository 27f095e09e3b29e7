from __future__ import annotations

from credit_contracts.incoming import PlanChanged, ProspectGenerated
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service import bounds
from credit_service.domain.catch_up import Input, Portion, TimerBounds, next_portion
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.rules import Rules
from support.domain import ACCOUNT, NOW, Story, event, time


def generated(at: str, prospect: str = "ann") -> Incoming:
    return event(ProspectGenerated(account_id=ACCOUNT, prospect_id=prospect), time(at), f"{prospect} {at}")


def portion_of(story: Story, *inputs: Input) -> Portion:
    return next_portion(story.rows.load(inputs, unparked_max=1_000), inputs, NOW)


def wakes(story: Story, *inputs: Input) -> list[Wake]:
    """The wakes that come before `inputs`; none if all of `inputs` fit."""
    portion = portion_of(story, *inputs)
    if portion.taken:
        assert portion == (inputs, len(inputs))
        return []
    return [early for early in portion.inputs if isinstance(early, Wake)]


def in_portions(story: Story, *inputs: Input) -> list[int]:
    """Decides all inputs; the number of decisions of each transaction."""
    left, sizes = inputs, []
    while left:
        portion = portion_of(story, *left)
        sizes.append(len(story.batch(portion.inputs).decisions))
        left = left[portion.taken :]
    return sizes


def first_plan(at: str, source: str = "/tests", event_id: str = "plan") -> Incoming:
    data = PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10)
    return event(data, time(at), event_id, source)


def test_an_account_that_is_up_to_date_needs_no_wake(hundred: Story) -> None:
    assert wakes(hundred, generated("2026-01-20")) == []


def test_a_few_periods_come_along_with_the_event(hundred: Story) -> None:
    assert wakes(hundred, generated("2026-12-20")) == []
    assert wakes(hundred, generated("2031-01-15")) == []


def test_more_periods_than_a_batch_takes_come_before_it(hundred: Story) -> None:
    assert wakes(hundred, generated("2031-02-15")) == [Wake(ACCOUNT, time("2031-02-15"), 60)]


def test_the_first_event_says_how_far(hundred: Story) -> None:
    inputs = generated("2033-01-01", "ann"), generated("2034-01-01", "bob")
    assert wakes(hundred, *inputs) == [Wake(ACCOUNT, time("2033-01-01"), 60)]


def test_an_event_past_more_turns_is_left_for_the_next_transaction(hundred: Story) -> None:
    inputs = generated("2026-01-20", "ann"), generated("2030-01-15", "bob"), generated("2031-02-15", "cy")
    assert portion_of(hundred, *inputs) == (inputs[:2], 2)


def test_what_has_no_effect_says_nothing(hundred: Story) -> None:
    """A repeat of an early event, and one whose id an early event has."""
    hundred.generate("ann", "2026-01-10", event_id="ann 2033-01-01")
    assert wakes(hundred, generated("2033-01-01", "ann"), generated("2026-01-20")) == []

    inputs = generated("2026-01-20"), generated("2026-01-21", "bob")
    again = event(inputs[0].data, time("2034-01-01"), inputs[0].id)
    assert portion_of(hundred, inputs[0], again, inputs[1]).taken == 3


def test_a_plan_on_the_instant_of_a_turn_comes_into_it(hundred: Story) -> None:
    """Also if the timers of other accounts come first: the month's credits are those of the new plan."""
    hundred.rows.accounts["other"] = {"next_timer_at": time("2026-01-15")}
    on_the_turn = first_plan("2026-02-01")
    other = event(ProspectGenerated(account_id="other", prospect_id="p"), time("2026-02-02"), "other")
    accounts = hundred.rows.load([on_the_turn, other], unparked_max=1_000)
    early = next_portion(accounts, [on_the_turn, other], NOW, TimerBounds(of_batch=1)).inputs
    assert {item.account_id for item in early} == {"other"}
    hundred.batch([on_the_turn])
    assert hundred.balance == 10

    later = first_plan("2033-01-01", event_id="later")
    assert wakes(hundred, later) == [Wake(ACCOUNT, time("2032-12-31 23:59:59.999999"), 60)]


def test_years_are_caught_up_in_batches_and_then_the_event_is_decided(hundred: Story) -> None:
    assert in_portions(hundred, generated("2035-12-15")) == [60, 59 + 1]
    assert hundred.decisions[-1].outcome == "charged"


def test_a_backlog_of_years_takes_the_months_one_by_one() -> None:
    """Ninety-four months of a plan of 8, with 8 charges each."""
    story = Story()
    story.plan(8, "2026-01-01", anchor="2026-01-01")
    months = [(2026 + month // 12, month % 12 + 1) for month in range(94)]
    inputs = [generated(f"{y}-{m:02}-{10 + n}", f"{y} {m} {n}") for y, m in months for n in range(8)]
    in_portions(story, *inputs)

    assert [d.outcome for d in story.decisions if d.type == "prospect-generated"] == ["charged"] * 752


def test_expiries_before_an_event_have_transactions_of_their_own() -> None:
    """A regression: one event ran all expiries that were due, perhaps thousands."""
    story = Story()
    story.plan(10, "2026-01-01", anchor="2026-01-01")
    for number in range(200):
        story.purchase(1, name=f"bought {number}", expires=f"2026-01-10 {number // 60:02}:{number % 60:02}")

    assert in_portions(story, generated("2026-01-20")) == [60, 60, 60, 20 + 1]


def test_many_accounts_share_what_a_batch_takes() -> None:
    story = Story()
    inputs: list[Input] = []
    for number in range(50):
        name = f"account {number}"
        story.rows.accounts[name] = {"next_timer_at": time("2026-02-01")}
        inputs.append(event(ProspectGenerated(account_id=name, prospect_id="ann"), time("2030-01-15"), "1"))
    early = wakes(story, *inputs)

    assert sum(wake.timers_max for wake in early) == bounds.TIMERS_PER_BATCH_MAX == 2_000
    assert {wake.timers_max for wake in early[:-1]} == {48}
    assert len(early) == 42


def test_an_event_that_will_be_refused_wakes_nobody(hundred: Story) -> None:
    assert wakes(hundred, generated("2036-01-01 00:05")) != []
    assert wakes(hundred, generated("2036-01-01 00:06"), generated("2080-01-01")) == []


def test_an_account_without_a_plan_is_not_woken(story: Story) -> None:
    assert wakes(story, generated("2035-01-01")) == []


def test_a_wake_needs_no_other_before_it(hundred: Story) -> None:
    assert wakes(hundred, Wake(ACCOUNT, time("2035-01-01"), 60)) == []


def test_what_queues_behind_others_wakes_nobody() -> None:
    story = Story(Rules(unparked_max=1))
    for name in ("ann", "bob", "cy"):
        story.generate(name)
    story.plan(10, "2026-01-01")

    assert wakes(story, generated("2035-01-01")) == []


def test_a_first_plan_of_long_ago_has_a_transaction_before_what_comes_later(story: Story) -> None:
    sizes = in_portions(story, first_plan("1990-01-01"), generated("2035-12-15"))

    assert sizes[0] == 1
    assert max(sizes) <= 60
    assert sum(sizes) == 1 + 45 * 12 + 11 + 1
    assert story.decisions[-1].outcome == "charged"


def test_what_waits_for_a_first_plan_of_long_ago_comes_with_it(story: Story) -> None:
    """In order of occurrence, not of arrival; the event after them is decided in the next transaction."""
    waiting = generated("2035-02-01", "bob"), generated("2035-01-01", "ann")
    behind = generated("2035-12-15", "cy")
    other = event(ProspectGenerated(account_id="other", prospect_id="p"), time("2035-12-16"), "other")
    story.happens(waiting[0].data, "2034-12-01", "the first of all")
    sizes = in_portions(story, *waiting, first_plan("1990-01-01"), behind, other)

    assert sizes == [0, 1 + 45 * 12 + 1 + 3, 10 + 1]
    decided = [d.prospect_id for d in story.decisions if d.type == "prospect-generated"]
    assert decided == ["bob", "ann", "bob", "cy"]


def test_a_first_plan_of_late_comes_along(story: Story) -> None:
    assert portion_of(story, first_plan("2035-01-01"), generated("2035-12-15")).taken == 2


def test_a_first_plan_that_will_be_refused_starts_nothing(story: Story) -> None:
    for refused in (first_plan("1969-12-31"), first_plan("1990-01-01", SERVICE_SOURCE)):
        assert portion_of(story, refused, generated("2035-12-15")).taken == 2
    story.generate("ann", "1990-01-01", event_id="plan")
    assert portion_of(story, first_plan("1990-01-01", event_id="plan"), generated("2035-12-15")).taken == 2
