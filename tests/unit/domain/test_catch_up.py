from __future__ import annotations

from credit_contracts.incoming import PlanChanged, ProspectGenerated
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain import catch_up
from credit_service.domain.catch_up import early_inputs
from credit_service.domain.decide import Rules
from credit_service.domain.decision import Incoming, Wake
from support.domain import ACCOUNT, NOW, Story, event, time


def generated(at: str, prospect: str = "ann") -> Incoming:
    return event(ProspectGenerated(account_id=ACCOUNT, prospect_id=prospect), time(at), f"{prospect} {at}")


def wakes(story: Story, *inputs: Incoming | Wake) -> list[Wake]:
    return [early for early in early_of(story, *inputs) if isinstance(early, Wake)]


def early_of(story: Story, *inputs: Incoming | Wake) -> list[Incoming | Wake]:
    return list(early_inputs(story.rows.load(inputs, unparked_max=1_000), inputs, NOW))


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


def test_the_latest_event_says_how_far(hundred: Story) -> None:
    assert wakes(hundred, generated("2034-01-01"), generated("2033-01-01")) == [Wake(ACCOUNT, time("2034-01-01"), 60)]


def test_years_are_caught_up_in_batches_and_then_the_event_is_decided(hundred: Story) -> None:
    incoming = generated("2035-12-15")
    sizes = []
    while early := wakes(hundred, incoming):
        sizes.append(len(hundred.batch(early).decisions))
    decided = hundred.batch([incoming])

    assert sizes == [60]
    assert len(decided.decisions) == 59 + 1
    assert decided.decisions[-1].outcome == "charged"


def test_many_accounts_share_what_a_batch_takes() -> None:
    story = Story()
    inputs: list[Incoming] = []
    for number in range(50):
        name = f"account {number}"
        story.rows.accounts[name] = {"next_timer_at": time("2026-02-01")}
        inputs.append(event(ProspectGenerated(account_id=name, prospect_id="ann"), time("2030-01-15"), "1"))
    early = wakes(story, *inputs)

    assert sum(wake.timers_max for wake in early) == catch_up.TIMERS_PER_BATCH_MAX == 2_000
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


def test_a_first_plan_of_long_ago_comes_before_the_events_of_its_batch(story: Story) -> None:
    inputs = [first_plan("1990-01-01"), generated("2035-12-15")]
    sizes = []
    while early := early_of(story, *inputs):
        sizes.append(len(story.batch(early).decisions))
    decided = story.batch(inputs)

    assert sizes[0] == 1
    assert max(sizes) <= 60
    assert sum(sizes) + len(decided.decisions) == 1 + 45 * 12 + 11 + 1
    assert (len(decided.duplicates), decided.decisions[-1].outcome) == (1, "charged")


def test_a_first_plan_of_late_comes_along(story: Story) -> None:
    assert early_of(story, first_plan("2035-01-01"), generated("2035-12-15")) == []


def test_a_first_plan_that_will_be_refused_does_not_come_before(story: Story) -> None:
    assert early_of(story, first_plan("1969-12-31"), generated("2035-12-15")) == []
    assert early_of(story, first_plan("1990-01-01", SERVICE_SOURCE), generated("2035-12-15")) == []
    story.generate("ann", "1990-01-01", event_id="plan")
    assert early_of(story, first_plan("1990-01-01", event_id="plan"), generated("2035-12-15")) == []
