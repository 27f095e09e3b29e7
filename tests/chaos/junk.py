"""Junk that others write, mixed into random traffic by the seed, and what has to become of it.

Whatever is not to be decided carries the header `MARK` with the reason of the dead letter that it becomes, so that it
is known however often a client sent it while the broker was away.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

from chaos.workload import Order, Tell, Workload, cut, give
from credit_contracts.envelope import encode
from credit_contracts.incoming import ProspectGenerated
from credit_contracts.topics import partition_for
from support.foreign import kafka_python, librdkafka
from support.foreign.at_rest import flip_a_byte
from support.foreign.batches import CODECS, RawRecord, batch_of
from support.foreign.wire import append
from support.small_bounds import as_faults
from support.topic_promises import until_of
from support.traffic import event, random_traffic
from support.wait import eventually

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from chaos.scene import Scene
    from chaos.workload import Step
    from credit_contracts.envelope import Event
    from credit_contracts.incoming import IncomingData
    from support.observed import Observed, Place

    Events: TypeAlias = Sequence[Event[IncomingData]]

PARTITIONS = 3
MARK = "junk"
BAD_HEADER, NOT_JSON, TOO_LARGE = "bad-header", "not-json", "too-large"
UNPACKED_BYTES_MAX = 128 * 1024
"""More than any other batch here holds; see `FAULTS`."""

FAULTS = as_faults(BATCH_UNPACKED_BYTES_MAX=UNPACKED_BYTES_MAX)
"""What the members need for it."""

WHY = ("--reason", "foreign junk", "--operator", "lee", "--yes")
FLIPPED_EVENTS = 3
ABORTED_TIMES = 12

_SENT_SECONDS_MAX = 180
_CLIENTS = {"librdkafka": librdkafka.send, "kafka-python": kafka_python.send}
_OPEN_SECONDS_MAX = 4.0
_TOGETHER = 15
_TOO_MANY = 400
_PADDING = (b"padding", bytes(400))


@dataclass(frozen=True)
class Written:
    """A record for a topic, as the contracts know it, and a partition."""

    topic: str
    partition: int
    record: RawRecord


def written(one: Event[IncomingData], *more: tuple[bytes, bytes], key: bytes = b"", value: bytes = b"") -> Written:
    """The event as our own producers send it, but for what is given."""
    record = encode(one)
    headers = [*((name.encode(), content) for name, content in record.headers), *more]
    number = partition_for(one.data.account_id.encode(), PARTITIONS)
    return Written(one.type, number, RawRecord(value or record.value, key or record.key, headers))


@dataclass(frozen=True)
class ByHand:
    """Batches made by hand, one for each partition."""

    codec: str
    records: tuple[Written, ...]

    async def send(self, scene: Scene) -> None:
        together: dict[tuple[str, int], list[RawRecord]] = defaultdict(list)
        for one in self.records:
            together[scene.deployment.topic(one.topic), one.partition].append(one.record)
        for (topic, number), records in together.items():
            batch = batch_of(records, codec=self.codec)

            async def is_there(topic: str = topic, number: int = number, batch: bytes = batch) -> bool:
                return await append(scene.deployment.kafka, topic, number, batch) >= 0

            await eventually(is_there, within_seconds=_SENT_SECONDS_MAX, what="a batch appended")


@dataclass(frozen=True)
class ByClient:
    """Events that another client sends, packed."""

    client: str
    codec: str
    events: tuple[Event[IncomingData], ...]

    async def send(self, scene: Scene) -> None:
        records = _sent(scene, self.events)
        await _until_done(lambda: _CLIENTS[self.client](scene.deployment.kafka, self.codec, records))


@dataclass(frozen=True)
class Transaction:
    """Events in a transaction that stays open for a while."""

    name: str
    events: tuple[Event[IncomingData], ...]
    seconds: float
    commits: bool

    async def send(self, scene: Scene) -> None:
        kafka, name = scene.deployment.kafka, scene.deployment.topic(self.name)

        async def is_over() -> bool:
            # After a fault the next attempt, of the same name, ends what this one left open.
            opened = librdkafka.open_transaction(kafka, name, _sent(scene, self.events), commits=self.commits)
            await asyncio.to_thread(opened.__enter__)
            await asyncio.sleep(self.seconds)
            await asyncio.to_thread(opened.__exit__, None, None, None)
            return True

        await eventually(is_over, within_seconds=_SENT_SECONDS_MAX, what=f"{self} over")


@dataclass(frozen=True)
class Aborted:
    """A dozen transactions in a row, each with this event, each aborted."""

    name: str
    event: Event[IncomingData]

    async def send(self, scene: Scene) -> None:
        (record,) = _sent(scene, [self.event])
        name = scene.deployment.topic(self.name)
        await _until_done(lambda: librdkafka.abort_transactions(scene.deployment.kafka, name, record, ABORTED_TIMES))


def _sent(scene: Scene, events: Iterable[Event[IncomingData]]) -> list[librdkafka.Sent]:
    encoded = [(scene.deployment.topic(one.type), one.data.account_id, encode(one)) for one in events]
    return [
        (topic, partition_for(account.encode(), PARTITIONS), r.key, r.value, r.headers) for topic, account, r in encoded
    ]


async def _until_done(send: Callable[[], None]) -> None:
    """Again and again, for as long as the broker is away; what came twice is a repeat."""

    async def is_done() -> bool:
        await asyncio.to_thread(send)
        return True

    await eventually(is_done, within_seconds=_SENT_SECONDS_MAX, what="sent by another client")


@dataclass
class Mix:
    """Traffic with junk, and by their ids the events of which something is expected; see `assert_ended`."""

    rng: random.Random
    events: int
    decided: set[str] = field(default_factory=set)
    without_effect: set[str] = field(default_factory=set)
    too_large: set[str] = field(default_factory=set)
    _ids: count[int] = field(default_factory=count)

    def workload(self, sections: int) -> Workload:
        """All kinds at least once, one message in a hundred or more."""
        traffic = random_traffic(self.rng.getrandbits(32), accounts=max(6, self.events // 100), events=self.events)
        once, often = self._kinds()
        kinds = once + self.rng.choices(often, k=max(0, self.events // 100 - len(once)))
        self.rng.shuffle(kinds)
        steps: list[Step] = []
        at = 0
        for place, kind in zip(sorted(self.rng.sample(range(1, len(traffic)), len(kinds))), kinds, strict=True):
            steps += map(Tell, traffic[at:place])
            at = max(at, place)
            # What comes next in the traffic may be sent in this way.
            step, used = kind(traffic[at : at + _TOGETHER], traffic[place])
            steps.append(step)
            at += used
        steps += map(Tell, traffic[at:])
        return Workload(cut(steps, sections), portion=max(10, min(1_000, self.events // 100)))

    def _kinds(self) -> tuple[list[_Kind], list[_Kind]]:
        by_client: list[_Kind] = [
            partial(self._by_client, client, codec) for client in _CLIENTS for codec in CODECS[1:]
        ]
        broken: list[_Kind] = [partial(self._one_broken, BAD_HEADER), partial(self._one_broken, NOT_JSON)]
        over_later: list[_Kind] = [partial(self._open, commits) for commits in (True, False)]
        alone: list[_Kind] = [partial(self._broken_alone, BAD_HEADER), partial(self._broken_alone, NOT_JSON)]
        cheap = [*broken, *alone, self._key_of_no_text]
        once = [*by_client, *cheap, *over_later, self._aborted, self._too_large]
        return once, [*cheap * 6, *by_client, *over_later, self._aborted]

    def _event(self, like: Event[IncomingData]) -> Event[IncomingData]:
        """One more, of the same account and time."""
        number = next(self._ids)
        data = ProspectGenerated(account_id=like.data.account_id, prospect_id=f"junk-{number}")
        return event(data, like.time, f"junk-{number}")

    def _broken(self, reason: str, like: Event[IncomingData]) -> Written:
        one = self._event(like)
        self.without_effect.add(one.id)
        mark = MARK.encode(), reason.encode()
        if reason == NOT_JSON:
            return written(one, mark, value=b"{not json")
        return written(one, mark, (b"name-\xff\xfe", b"value"))

    def _broken_alone(self, reason: str, _: Events, like: Event[IncomingData]) -> _Used:
        return ByHand("none", (self._broken(reason, like),)), 0

    def _one_broken(self, reason: str, following: Events, like: Event[IncomingData]) -> _Used:
        """A batch with many records of which one is junk."""
        ours = [written(self._good(like)) for _ in range(_TOGETHER)]
        ours.insert(self.rng.randint(1, _TOGETHER), self._broken(reason, like))
        return ByHand(self.rng.choice(CODECS), (*map(written, following), *ours)), len(following)

    def _good(self, like: Event[IncomingData]) -> Event[IncomingData]:
        one = self._event(like)
        self.decided.add(one.id)
        return one

    def _key_of_no_text(self, following: Events, _: Event[IncomingData]) -> _Used:
        records = tuple(written(one, key=b"\xff\xfe" + one.data.account_id.encode()) for one in following)
        self.decided |= {one.id for one in following}
        return ByHand(self.rng.choice(CODECS), records), len(following)

    def _by_client(self, client: str, codec: str, following: Events, _: Event[IncomingData]) -> _Used:
        self.decided |= {one.id for one in following}
        return ByClient(client, codec, tuple(following)), len(following)

    def _open(self, commits: bool, following: Events, like: Event[IncomingData]) -> _Used:
        ours = self._event(like)
        (self.decided if commits else self.without_effect).add(ours.id)
        events = (*following, ours) if commits else (ours,)
        seconds = self.rng.uniform(1.0, _OPEN_SECONDS_MAX)
        return Transaction(f"open-{next(self._ids)}", events, seconds, commits), len(following) if commits else 0

    def _aborted(self, _: Events, like: Event[IncomingData]) -> _Used:
        one = self._event(like)
        self.without_effect.add(one.id)
        return Aborted(f"aborted-{next(self._ids)}", one), 0

    def _too_large(self, _: Events, like: Event[IncomingData]) -> _Used:
        events = [self._event(like) for _ in range(_TOO_MANY)]
        self.too_large |= {one.id for one in events}
        mark = MARK.encode(), TOO_LARGE.encode()
        return ByHand(self.rng.choice(CODECS[1:]), tuple(written(one, mark, _PADDING) for one in events)), 0

    def assert_ended(self, observed: Observed) -> None:
        """What is good is decided, also what was taken out of a batch; nothing of what is not."""
        decided = {row["id"] for row in observed.decisions}
        assert self.decided | self.too_large <= decided
        assert not self.without_effect & decided


_Used: TypeAlias = "tuple[Step, int]"
_Kind: TypeAlias = "Callable[[Events, Event[IncomingData]], _Used]"
"""What is sent, and how many of the messages that follow are sent by it."""


def assert_only_junk_is_dead(observed: Observed) -> None:
    """A dead letter for each record that is broken, and one for all of a batch that holds too much: nothing else."""
    marked = {message.place: message.header(MARK) for message in observed.incoming if message.header(MARK)}
    dead: dict[Place, str | None] = {}
    for row in observed.dead_letters:
        topic, number, first = row["topic"], row["partition"], row["offset"]
        dead |= {(topic, number, at): row["reason"] for at in range(first, until_of(row) or first + 1)}
    assert dead == marked
    packed = [row for row in observed.dead_letters if row["reason"] == TOO_LARGE]
    assert all(until_of(row) == row["offset"] + _TOO_MANY for row in packed)
    assert packed


@dataclass
class FlippedUntilSkipped:
    """A disk changes one byte of a batch, and a person goes past it; then the byte is put back, for whoever looks on.

    The broker is not to be killed meanwhile: it would cut its log off there.
    """

    account: str
    place: Place | None = field(default=None, init=False)
    _is_flipped: bool = field(default=False, init=False, repr=False)

    @property
    def name(self) -> str:
        return "flipped byte in a batch, skipped"

    @property
    def until(self) -> int:
        """The offset behind the batch."""
        assert self.place
        return self.place[2] + FLIPPED_EVENTS

    async def inject(self, scene: Scene) -> None:
        # Nobody reads the batch before its byte is flipped.
        await asyncio.gather(*(member.terminate() for member in scene.members))
        data = [ProspectGenerated(account_id=self.account, prospect_id=f"{n}") for n in range(FLIPPED_EVENTS)]
        records = [written(event(one, datetime.now(UTC), f"flipped-{one.prospect_id}")) for one in data]
        topic, number = scene.deployment.topic(records[0].topic), records[0].partition
        batch = batch_of([one.record for one in records])
        self.place = topic, number, await append(scene.deployment.kafka, topic, number, batch)
        self._flip(scene)
        await scene.restart_the_ended()
        await scene.say("held", "{}/{} at offset {} (its checksum is wrong)".format(*self.place))
        # Only a person can mend it: the members are ready.
        await scene.ready()

    async def heal(self, scene: Scene) -> None:
        await scene.restart_the_ended()
        if self.place is None:
            return
        topic, number, _ = self.place
        name = topic.removeprefix(scene.deployment.prefix)
        try:
            await give(Order(("skip", name, str(number), "--to", str(self.until), *WHY)), scene)
            await eventually(partial(_nobody_is_held, scene), what="read again")
        finally:
            if self._is_flipped:
                self._flip(scene)

    @contextmanager
    def again(self, scene: Scene) -> Iterator[None]:
        """For as long as this lasts the byte is flipped once more: what was skipped cannot be read."""
        self._flip(scene)
        try:
            yield
        finally:
            self._flip(scene)

    @property
    def skipped(self) -> set[str]:
        """The places, as commands name them."""
        assert self.place
        topic, number, first = self.place
        return {f"{topic}/{number}@{offset}" for offset in range(first, self.until)}

    def _flip(self, scene: Scene) -> None:
        assert self.place
        flip_a_byte(scene.own_stack.data / "kafka", *self.place)
        self._is_flipped = not self._is_flipped

    def assert_skipped(self, observed: Observed) -> None:
        """It is the one gap that is recorded, and nothing of it is decided."""
        assert self.place
        (gap,) = observed.gaps
        assert (gap["topic"], gap["partition"], gap["resumed_offset"]) == (*self.place[:2], self.until)
        lies = [message.place[2] for message in observed.incoming if message.place[:2] == self.place[:2]]
        assert [at for at in lies if gap["expected_offset"] <= at < self.until] == [*range(self.place[2], self.until)]
        assert not [row for row in [*observed.decisions, *observed.parked] if row["account_id"] == self.account]


async def _nobody_is_held(scene: Scene) -> bool:
    told = [await member.degraded() for member in scene.members]
    return not any("held" in degraded for degraded in told)
