"""What a consumer is told of the events of an account, whatever way they reach it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_contracts import (
    SERVICE_SOURCE,
    BalanceChanged,
    Cause,
    Event,
    Gap,
    InOrder,
    InsufficientCredits,
    Joined,
    Late,
    Missing,
    OutgoingData,
    Place,
    Repeat,
    Rewritten,
    SequenceGuard,
    Verdict,
)
from credit_contracts.outgoing import balance_changed_id, insufficient_credits_id
from credit_contracts.sequence_guard import MISSING_MAX, RECENT_MAX

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TOPIC = "balance-changed"
GUARD_BYTES_MAX = 10_000


def change(sequence: int, says: str = "", account_id: str = "a") -> Event[OutgoingData]:
    """A balance change; two that say the same are the same."""
    data = BalanceChanged(
        account_id=account_id,
        sequence=sequence,
        previous_balance=1_000,
        balance=999,
        delta=-1,
        reason="charge",
        cause=Cause(source="/campaigns", id=says or f"cause-{sequence}", type="prospect-generated"),
        unlimited=False,
        period_ends_at=None,
        occurred_at=AT,
        recorded_at=datetime.now(UTC),
    )
    return Event(SERVICE_SOURCE, balance_changed_id(account_id, sequence), "balance-changed", AT, data)


def decline(position: int, says: str = "", account_id: str = "a") -> Event[OutgoingData]:
    data = InsufficientCredits(
        account_id=account_id,
        required=1,
        available=0,
        shortfall=1,
        cause=Cause(source="/campaigns", id=says or f"cause-{position}", type="prospect-generated"),
        declined_in_period=1,
        period_ends_at=None,
        occurred_at=AT,
        recorded_at=AT,
    )
    return Event(SERVICE_SOURCE, insufficient_credits_id(account_id, position), "insufficient-credits", AT, data)


def at(offset: int) -> Place:
    return Place(TOPIC, 3, offset)


@dataclass
class Reader:
    """A consumer that keeps its guard as text, as in a database: every step is one after a restart."""

    kept: str = ""
    offset: int = 0

    @property
    def guard(self) -> SequenceGuard:
        return SequenceGuard.model_validate_json(self.kept) if self.kept else SequenceGuard(account_id="a")

    def take(self, event: Event[OutgoingData], offset: int | None = None) -> Verdict:
        self.offset = self.offset + 1 if offset is None else offset
        verdict, guard = self.guard.take(event, at(self.offset))
        self.kept = guard.model_dump_json()
        return verdict

    def read(self, *sequences: int) -> list[Verdict]:
        return [self.take(change(sequence)) for sequence in sequences]


def test_changes_in_order_are_new_each_time() -> None:
    assert Reader().read(1, 2, 3) == [InOrder()] * 3


def test_a_change_that_comes_again_is_a_repeat() -> None:
    assert Reader().read(1, 2, 2, 1, 3) == [InOrder(), InOrder(), Repeat(), Repeat(), InOrder()]


def test_a_gap_says_what_is_missing_and_where_to_read_again() -> None:
    reader = Reader()
    assert reader.read(1, 2, 6)[-1] == Gap(Missing(3, 5, at(2)), None)
    assert reader.guard.missing == (Missing(3, 5, at(2)),)


def test_a_gap_is_filled_by_reading_again_and_nothing_is_taken_twice() -> None:
    reader = Reader()
    reader.read(1, 2, 6)
    assert reader.read(2, 3, 4, 5, 6, 7) == [Repeat(), Late(None), Late(None), Late(None), Repeat(), InOrder()]
    assert reader.guard.missing == ()


def test_what_is_missing_for_good_is_told_once_and_stays_in_view() -> None:
    reader = Reader()
    reader.read(1, 3)
    assert reader.read(1, 3, 4) == [Repeat(), Repeat(), InOrder()]
    assert list(reader.guard.missing) == [Missing(2, 2, at(1))]
    assert reader.read(2) == [Late(None)]
    assert reader.guard.missing == ()


def test_changes_that_come_in_another_order_are_a_gap_and_then_late() -> None:
    assert Reader().read(1, 3, 2, 4) == [InOrder(), Gap(Missing(2, 2, at(1)), None), Late(None), InOrder()]


def test_an_account_first_seen_in_its_midst_is_no_gap() -> None:
    reader = Reader()
    assert reader.read(50, 51) == [Joined(Missing(1, 49, None)), InOrder()]
    assert reader.read(49, 1) == [Late(None), Late(None)]
    assert reader.guard.missing == (Missing(2, 48, None),)


def test_too_many_gaps_are_forgotten_from_the_oldest_and_that_is_told() -> None:
    reader = Reader()
    reader.read(1, *range(3, 2 * MISSING_MAX + 3, 2))
    oldest = Missing(2, 2, at(1))
    assert reader.guard.missing[0] == oldest
    (verdict,) = reader.read(2 * MISSING_MAX + 3)
    assert isinstance(verdict, Gap)
    assert verdict.forgotten == oldest
    assert reader.read(2) == [Repeat()]


def test_a_gap_that_a_late_one_parts_in_two_may_be_one_too_many() -> None:
    reader = Reader()
    reader.read(5, *range(7, 2 * MISSING_MAX + 5, 2))
    assert len(reader.guard.missing) == MISSING_MAX
    assert reader.read(2) == [Late(Missing(1, 1, None))]


def test_after_a_restore_the_same_history_is_repeats() -> None:
    reader = Reader()
    reader.read(1, 2, 3)
    assert reader.read(2, 3, 4) == [Repeat(), Repeat(), InOrder()]


def test_after_a_restore_another_history_is_told_and_counts_from_there() -> None:
    reader = Reader()
    reader.read(1, 2, 3, 4)
    assert reader.take(change(2)) == Repeat()
    assert reader.take(change(3, "another")) == Rewritten(2)
    assert reader.take(change(4, "and another")) == InOrder()
    assert reader.take(change(5)) == InOrder()


def test_what_was_missing_of_the_old_history_is_missed_no_more() -> None:
    reader = Reader()
    reader.read(1, 2, 3, 6)
    assert reader.take(change(3, "another")) == Rewritten(4)
    assert reader.guard.missing == ()


def test_the_old_history_read_again_does_not_come_back() -> None:
    reader = Reader()
    reader.read(1, 2, 3)
    reader.take(change(2, "another"))
    assert reader.take(change(2), offset=2) == Repeat()
    assert reader.take(change(3), offset=3) == Repeat()
    assert reader.take(change(3, "and another"), offset=5) == InOrder()


def test_offsets_that_begin_anew_hide_nothing() -> None:
    """The topic was made anew, or lies in another Kafka."""
    reader = Reader(offset=5_000)
    reader.read(*range(1, 51))
    assert [reader.take(change(n), offset=n - 51) for n in (51, 52, 53)] == [InOrder()] * 3
    assert reader.take(change(55), offset=3) == Gap(Missing(54, 54, at(2)), None)
    assert reader.take(change(55), offset=3) == Repeat()
    reader.take(decline(60), offset=900)
    assert reader.take(decline(61), offset=0) == InOrder()


def test_what_two_restores_made_void_does_not_come_back() -> None:
    reader = Reader()
    reader.read(*range(1, 9))
    assert reader.take(change(3, "another")) == Rewritten(6)
    assert reader.take(change(4, "another")) == InOrder()
    assert reader.take(change(4, "and another")) == Rewritten(1)
    assert [reader.take(change(n), offset=n) for n in (3, 5, 8)] == [Repeat()] * 3
    assert reader.take(change(5, "and another"), offset=12) == InOrder()


def test_offsets_that_begin_anew_hide_nothing_once_the_new_history_is_longer_than_the_old() -> None:
    reader = Reader(offset=5_000)
    reader.read(1, 2, 3, 4)
    assert reader.take(change(3, "another")) == Rewritten(2)
    assert [reader.take(change(4), offset=n) for n in (0, 5_004)] == [Repeat()] * 2
    assert [reader.take(change(n), offset=n - 5) for n in (4, 5, 6)] == [
        Repeat(),
        Gap(Missing(4, 4, at(5_005)), None),
        InOrder(),
    ]
    assert reader.take(change(4), offset=6_000) == Late(None)


def test_the_old_history_does_not_fill_a_gap_of_the_new() -> None:
    reader = Reader()
    reader.read(1, 2, 3, 4, 5)
    assert reader.take(change(2, "another")) == Rewritten(4)
    assert isinstance(reader.take(change(5, "another"), offset=9), Gap)
    assert [reader.take(change(n), offset=n) for n in (3, 4, 5)] == [Repeat()] * 3
    assert [reader.take(change(n, "another"), offset=n + 4) for n in (3, 4, 5)] == [Late(None), Late(None), Repeat()]
    assert reader.guard.missing == ()


def test_what_was_missing_before_the_histories_part_still_comes() -> None:
    reader = Reader()
    for number, offset in ((1, 1), (3, 3), (4, 4)):
        reader.take(change(number), offset)
    reader.take(decline(10), offset=3)
    assert reader.take(change(4, "another"), offset=5) == Rewritten(1)
    assert reader.take(decline(10, "another"), offset=5) == Rewritten(1)
    assert reader.take(change(2), offset=2) == Late(None)
    assert reader.take(decline(8), offset=2) == Late(None)


def test_a_restored_history_out_of_order_makes_too_much_void() -> None:
    """As the README says: which of the two came of the same restore cannot be told."""
    reader = Reader()
    reader.read(*range(1, 9))
    assert reader.take(change(7, "another")) == Rewritten(2)
    assert reader.take(change(6, "another")) == Rewritten(2)
    assert reader.take(change(8, "another")) == Gap(Missing(7, 7, at(10)), None)


def test_a_restore_that_reaches_farther_back_than_is_remembered_is_told_late_or_never() -> None:
    reader = Reader()
    reader.read(*range(1, RECENT_MAX + 4))
    assert [reader.take(change(n, "another")) for n in (2, 3)] == [Repeat()] * 2
    assert reader.take(change(4, "another")) == Rewritten(RECENT_MAX)


def test_a_guard_that_was_kept_by_an_older_version_is_read() -> None:
    reader = Reader('{"account_id":"a","changes":{"newest":1,"at":{"topic":"t","partition":0,"offset":1},"recent":{}}}')
    assert reader.take(change(2)) == InOrder()


def test_declines_have_no_gaps_but_repeats() -> None:
    reader = Reader()
    taken = [reader.take(decline(position)) for position in (7, 19, 19, 7, 30)]
    assert taken == [InOrder(), InOrder(), Repeat(), Repeat(), InOrder()]


def test_a_decline_that_comes_late_is_new_once() -> None:
    reader = Reader()
    taken = [reader.take(decline(position)) for position in (7, 19, 8, 8)]
    assert taken == [InOrder(), InOrder(), Late(None), Repeat()]


def test_a_decline_older_than_all_that_is_remembered_counts_as_a_repeat() -> None:
    reader = Reader()
    for position in range(10, 10 + RECENT_MAX):
        reader.take(decline(position))
    assert reader.take(decline(9)) == Repeat()


def test_a_decline_of_another_history_is_told() -> None:
    reader = Reader()
    for position in (7, 19, 30):
        reader.take(decline(position))
    assert reader.take(decline(19, "another")) == Rewritten(2)
    assert reader.take(decline(30), offset=3) == Repeat()
    assert reader.take(decline(40), offset=5) == InOrder()
    assert reader.take(decline(30), offset=3) == Repeat()
    assert reader.take(decline(8), offset=2) == Late(None)
    assert reader.take(decline(30), offset=6) == Late(None)


def test_changes_and_declines_are_counted_apart() -> None:
    reader = Reader()
    assert [reader.take(one) for one in (change(1), decline(2), change(2), decline(2))] == [
        InOrder(),
        InOrder(),
        InOrder(),
        Repeat(),
    ]


def test_a_guard_of_another_account_is_refused() -> None:
    with pytest.raises(ValueError, match="another account"):
        SequenceGuard(account_id="b").take(change(1), at(1))


@pytest.mark.parametrize("event_id", ["a:7", "a:d:", "a:d:x", ":d:7", "7"])
def test_a_decline_without_its_position_is_refused(event_id: str) -> None:
    with pytest.raises(ValueError, match="not that of a decline"):
        SequenceGuard(account_id="a").take(replace(decline(7), id=event_id), at(1))


def test_a_guard_that_is_not_kept_changes_nothing() -> None:
    guard = SequenceGuard(account_id="a")
    guard.take(change(1), at(1))
    assert guard.take(change(1), at(1))[0] == InOrder()


# A log in which an account's changes were lost, repeated and put in another order, and a way to read it: how far
# ahead, or back to where.
_logs = st.lists(st.integers(1, 12), min_size=1, max_size=25)
_steps = st.lists(st.integers(-8, 0), max_size=10)


def walk(length: int, steps: list[int], start: int = 0, anew: int = 0) -> list[int]:
    """Where a log is read: once to its end, with steps back, and past `anew` none before that."""
    read, where, back = list[int](), start, list(steps)
    while where < length:
        read.append(where)
        step = back.pop() if back else 0
        where = max(anew if max(read) >= anew else 0, where + 1 + step)
    return read


@given(log=_logs, steps=_steps, anew=st.integers(0, 25))
def test_each_change_is_new_once_and_all_that_is_missing_is_in_view(
    log: list[int], steps: list[int], anew: int
) -> None:
    """Also if the topic is made anew on the way, and its offsets with it."""
    reader = Reader()
    taken: dict[int, Place] = {}
    for where in walk(len(log), steps, anew=anew):
        sequence, offset = log[where], where if where < anew else where - anew
        newest = max(taken, default=0)
        verdict = reader.take(change(sequence), offset)
        due: Verdict
        if sequence in taken:
            due = Repeat()
        elif sequence < newest:
            due = Late(None)
        elif sequence == newest + 1:
            due = InOrder()
        elif not taken:
            due = Joined(Missing(1, sequence - 1, None))
        else:
            due = Gap(Missing(newest + 1, sequence - 1, taken[newest]), None)
        assert verdict == due
        taken.setdefault(sequence, at(offset))
        missing = [n for gap in reader.guard.missing for n in range(gap.first, gap.last + 1)]
        assert missing == [n for n in range(1, max(taken)) if n not in taken]


@given(order=st.permutations(range(1, 11)), lost=st.sets(st.integers(1, 10)))
def test_whoever_reads_again_where_a_gap_says_has_all_in_the_end(order: list[int], lost: set[int]) -> None:
    """What the first reading did not see lies behind the place that the gap names, if it lies there in order."""
    log = sorted(order)
    reader, taken = Reader(), list[int]()
    for offset, sequence in enumerate(log):
        if sequence not in lost and reader.take(change(sequence), offset) != Repeat():
            taken.append(sequence)
    for gap in reader.guard.missing:
        for offset in range(gap.after.offset if gap.after else 0, len(log)):
            if reader.take(change(log[offset]), offset) != Repeat():
                taken.append(log[offset])
    assert sorted(taken) == [n for n in log if n <= max(taken, default=0)]
    assert reader.guard.missing == ()


_tails = st.lists(st.sampled_from("xyz"), max_size=10)


@given(
    first=st.lists(st.sampled_from("xyz"), min_size=1, max_size=10),
    restores=st.lists(st.tuples(st.integers(0, 20), _tails), min_size=1, max_size=3),
    steps=_steps,
    start=st.integers(0, 20),
)
def test_after_restores_what_counts_is_the_history_as_it_is_now(
    first: list[str], restores: list[tuple[int, list[str]]], steps: list[int], start: int
) -> None:
    """Whoever takes what is new, and drops what is void, has the last history, as far as it goes."""
    history, log = first, list(enumerate(first, 1))
    for kept, then in restores:
        again = min(kept, len(history)) // 2
        history = history[:kept] + then
        log += list(enumerate(history, 1))[again:]
    reader, held = Reader(), dict[int, str]()
    for offset in walk(len(log), steps, start):
        sequence, says = log[offset]
        verdict = reader.take(change(sequence, says), offset)
        if isinstance(verdict, Rewritten):
            held = {n: said for n, said in held.items() if n < sequence}
            assert reader.guard.changes.newest == sequence
        if verdict != Repeat():
            held[sequence] = says
    assert start or [held[n] for n in sorted(held)][: len(history)] == history
    assert all(held[n] == history[n - 1] for n in held if n <= len(history))


@given(
    first=st.integers(2, 5),
    kept=st.integers(0, 4),
    then=st.integers(1, 5),
    lost=st.sets(st.integers(0, 9)),
    steps=st.lists(st.integers(-8, 0), min_size=10, max_size=15),
)
def test_after_a_rewriting_nothing_void_is_new_and_nothing_new_is_a_repeat(
    first: int, kept: int, then: int, lost: set[int], steps: list[int]
) -> None:
    """Whatever else was skipped, and whatever is read again."""
    kept = min(kept, first - 1)
    log = [*((n, "before") for n in range(1, first + 1)), *((n, "after") for n in range(kept + 1, kept + then + 1))]
    reader, is_rewritten, taken = Reader(), False, set[tuple[int, str]]()
    for offset in walk(len(log), steps):
        if offset in lost - {kept, first - 1, first}:  # where the histories part is read, and the end of the old
            lost = lost - {offset}
            continue
        verdict = reader.take(change(*log[offset]), offset)
        is_rewritten |= isinstance(verdict, Rewritten)
        is_void = kept <= offset < first
        if is_rewritten:
            assert (verdict == Repeat()) == (is_void or log[offset] in taken)
        taken |= {log[offset]}


@given(steps=st.lists(st.sampled_from([1, 1, 2, 10**6]), min_size=100, max_size=150))
def test_a_guard_does_not_grow_beyond_its_bound(steps: list[int]) -> None:
    guard = SequenceGuard(account_id="a" * 128)
    for offset, sequence in enumerate(accumulate(steps)):
        place = Place("t" * 249, 10**4, 10**12 + offset)
        for says in ("", "another"):
            _, guard = guard.take(change(sequence, says, guard.account_id), place)
            _, guard = guard.take(decline(sequence, says, guard.account_id), place)
    assert guard.changes.void_until == guard.declines.void_until == place
    assert len(guard.changes.recent) == len(guard.declines.recent) == RECENT_MAX
    assert len(guard.missing) <= MISSING_MAX
    assert len(guard.model_dump_json()) < GUARD_BYTES_MAX
