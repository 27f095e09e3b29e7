"""What the bench tells of what it has measured."""

import pytest

from benchmarks.cost import Cpu
from benchmarks.mix import Mix
from benchmarks.results import FIGURES, RATIOS, Target, percentile, spread, targets


@pytest.mark.parametrize(
    ("target", "reached", "missed"), [(Target(0.5), 0.5, 0.49), (Target(1.3, at_most=True), 1.3, 1.31)]
)
def test_a_target_is_reached_on_its_own_side(target: Target, reached: float, missed: float) -> None:
    assert target.reached(reached)
    assert not target.reached(missed)


def test_each_target_is_written_with_its_side() -> None:
    assert targets()["hot_account_to_spread"] == ">= 0.8"
    assert targets()["bytes_stored_per_event"] == "<= 600"
    assert targets().keys() == {n for n, target in (RATIOS | FIGURES).items() if target}


@pytest.mark.parametrize(("percent", "value"), [(50, 2), (99, 4), (100, 4)])
def test_a_percentile_is_a_value_that_was_measured(percent: int, value: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == value


def test_a_spread_keeps_the_order_of_the_runs() -> None:
    assert spread([3.0, 1.0, 2.0], digits=0) == {"median": 2.0, "min": 1.0, "max": 3.0, "runs": [3.0, 1.0, 2.0]}


def test_clocks_are_read_between_two_instants() -> None:
    before, after = Cpu(1.0, 2.0, None), Cpu(2.0, 4.0, None)
    assert before.towards(after, 0.5) == Cpu(1.5, 3.0, None)
    assert after.since(before, 500) == {"service": 2.0, "postgres": 4.0, "kafka": None}


def test_the_same_seed_makes_the_same_mix() -> None:
    one, other = ([m.id for m in Mix(accounts=3, seed=1).events(50)] for _ in range(2))
    assert one == other


def test_what_refers_to_a_charge_can_be_made_to_come_later() -> None:
    rest = 20
    mix = Mix(accounts=3, seed=1, rest=rest)
    charges: list[bytes] = []
    for message in mix.events(500):
        prospect = next(part for part in message.value.split(b",") if b"prospect_id" in part)
        if message.type == "prospect-generated":
            charges.append(prospect)
        elif prospect in charges:
            assert prospect not in charges[-rest:]
