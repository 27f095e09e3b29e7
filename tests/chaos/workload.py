"""What a run is given to do: events of all kinds, records that nobody can read, and orders of people in between.

All of it comes from one seed; only the day on which it happens does not.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import asyncpg

from credit_contracts.incoming import PlanChanged
from support import scenarios
from support.credits import COMMAND_SECONDS_MAX, run_credits, run_credits_within
from support.patience import patience
from support.replays import settings_of
from support.scenarios import Lies, Ordered, Scenario, Told
from support.traffic import event, random_traffic
from support.wait import eventually

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from chaos.scene import Scene
    from credit_contracts.envelope import Event, Headers
    from credit_contracts.incoming import IncomingData
    from support.observed import Observed
    from support.traffic import Upstream

FLOOD = 25
"""So many bad messages in a row pause their topic; see `SETTINGS`."""

SETTINGS = {"unreadable_in_a_row_max": str(FLOOD)}
"""What the members need for it."""

FLOODED_TOPIC = "email-bounced"
APPROVED, REJECTED, GIVEN = "approved", "rejected", "given"
"""The accounts on whose one request for a refund people decide, and the one that they adjust."""

_PORTION = 10
_OTHERS_AT_ONCE = 6
_ANSWER_SECONDS_MAX = 120
_LOOKS_EVERY_SECONDS = 0.2
_STORIES = (
    scenarios.charge,
    scenarios.decline,
    scenarios.refund_by_bounce,
    scenarios.bounce_before_charge,
    scenarios.unlimited,
    scenarios.delete_and_generate_again,
    scenarios.duplicate,
    scenarios.conflict,
)
_POISON: tuple[tuple[str, bytes | None], ...] = (
    ("plan-changed", b"{}"),
    ("prospect-exported", b"not json"),
    ("prospect-imported", None),
    ("prospect-generated", b'{"account_id": NaN}'),
    ("credits-purchased", b"[" * 5_000),
    ("prospect-stage-changed", b"\xff\xfe" * 40_000),
)
# Beyond the minutes that a message may be ahead.
_AHEAD = timedelta(hours=1)
_CLOCK_MOVED = """CREATE OR REPLACE FUNCTION credits.ledger_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    RETURN clock_timestamp() + interval '2 hours'"""


@dataclass(frozen=True)
class Tell:
    """An event; `is_dead` says that it becomes a dead letter."""

    event: Event[IncomingData]
    is_dead: bool = False


@dataclass(frozen=True)
class Raw:
    """A record as it is."""

    topic: str
    value: bytes | None
    headers: Headers = ()
    key: bytes = b"raw"
    is_dead: bool = True


@dataclass(frozen=True)
class Order:
    """A command that a person gives again and again until its exit code is one of `answers`."""

    arguments: tuple[str, ...]
    answers: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class Flood:
    """Unreadable messages until their topic was paused, and a person had it go on; see `on_duty`."""

    topic: str


@runtime_checkable
class Foreign(Protocol):
    """What somebody else sends, by a client of theirs; nobody waits until it is there, but the run does at its end."""

    async def send(self, scene: Scene) -> None: ...


Step: TypeAlias = Tell | Raw | Order | Flood | Foreign


def _because(number: int) -> tuple[str, ...]:
    return ("--reason", f"order {number}", "--operator", "lee", "--yes")


@dataclass
class Workload:
    """Steps in sections, one for each fault; what people do at the end, once all is decided.

    `portion` is how many events are sent at once.
    """

    sections: list[list[Step]]
    closing: list[Order] = field(default_factory=list)
    portion: int = _PORTION

    async def play(self, section: Sequence[Step], scene: Scene, progress: Progress, people: asyncio.TaskGroup) -> None:
        """Sends in small portions, so that the service works while more comes in.

        Nobody waits for people: what they decide on may come with a later section.
        """
        others = asyncio.Semaphore(_OTHERS_AT_ONCE)
        async with _upstream(scene) as upstream:
            for portion in _portions(section, self.portion):
                match portion:
                    case [Order() as order]:
                        people.create_task(give(order, scene))
                    case [Flood() as flood]:
                        people.create_task(_flood(flood, scene))
                    case [Foreign() as foreign]:
                        await others.acquire()
                        people.create_task(foreign.send(scene)).add_done_callback(lambda _: others.release())
                    case _:
                        await _send(portion, upstream, scene)
                await progress.add()
            await progress.add(is_over=True)

    async def send(self, scene: Scene) -> None:
        """All of it, without any fault in between."""
        async with asyncio.TaskGroup() as people:
            for section in self.sections:
                await self.play(section, scene, Progress(), people)

    async def close(self, scene: Scene) -> None:
        """The last orders, once the clock has come to what was sent too early."""
        if not self.closing:
            return
        connection = await scene.connect()
        try:
            await connection.execute(_CLOCK_MOVED)
        finally:
            await connection.close()
        for order in self.closing:
            await give(order, scene)

    def assert_obeyed(self, observed: Observed) -> None:
        """Each order of a person has its effect, once."""
        if not self.closing:
            return
        given = sorted((row["reason"], row["amount"]) for row in observed.adjustments)
        assert given == [("order 1", 5), ("order 2", 2)]
        requests = {(row["account_id"], row["status"]) for row in observed.requests if row["operator"]}
        assert requests == {(APPROVED, "approved"), (REJECTED, "rejected")}
        ends = {row["status"] for row in observed.dead_letters if row["reason"] == "from-the-future"}
        assert ends == {"resolved"}
        assert {row["status"] for row in observed.dead_letters if row["topic"].endswith(FLOODED_TOPIC)} == {"discarded"}


@asynccontextmanager
async def _upstream(scene: Scene) -> AsyncIterator[Upstream]:
    """The producer, once there is a broker: a section may begin while it is away."""
    upstream = await eventually(lambda: scene.deployment.upstream().__aenter__(), within_seconds=120)
    try:
        yield upstream
    finally:
        await upstream.__aexit__()


@dataclass
class Progress:
    """How many portions of a section were sent."""

    _portions: int = 0
    _is_over: bool = False
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def add(self, *, is_over: bool = False) -> None:
        async with self._moved:
            self._portions += 1
            self._is_over = is_over
            self._moved.notify_all()

    async def reached(self, portions: int) -> None:
        """Waits until so many were sent, or all."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._is_over or self._portions >= portions)


def traffic_only(rng: random.Random, sections: int, events: int) -> Workload:
    """Random traffic alone, so many events a section."""
    traffic = random_traffic(rng.getrandbits(32), events=sections * events)
    steps: list[Step] = [Tell(one) for one in traffic]
    return Workload(cut(steps, sections))


def all_kinds(rng: random.Random, sections: int, events: int) -> Workload:
    """Random traffic, stories, poison, floods and orders, mixed; each section has about so many events."""
    now = datetime.now(UTC)
    traffic = [Tell(one) for one in random_traffic(rng.getrandbits(32), events=sections * events)]
    told = [*(_story(story, now) for story in _STORIES), *_of_people(now)]
    poison: list[Sequence[Step]] = [[Raw(topic, value)] for topic, value in _POISON]
    future = event(PlanChanged(account_id="early", plan_id="p", monthly_credits=3), now + _AHEAD, "early-plan")
    poison += [[Tell(future, is_dead=True)], [Flood(FLOODED_TOPIC)]]
    steps = _mixed(rng, [traffic, *told, *poison])
    closing = [
        Order(("dead-letters", "retry", "--because", "from-the-future", *_because(90))),
        Order(("dead-letters", "discard", "--topic", FLOODED_TOPIC, *_because(91))),
    ]
    return Workload(cut(steps, sections), closing)


def _of_people(now: datetime) -> list[Sequence[Step]]:
    """What people decide on requests for a refund, give to an account, and do to dead letters."""
    began = now - timedelta(hours=3)
    told = []
    for account in (APPROVED, REJECTED, GIVEN):
        s = Scenario(account, began)
        s.tell(s.plan(4))
        if account != GIVEN:
            s.tell(s.generated("ann"))
            s.tell(s.wrong_email("ann"))
        told.append(_steps(s))
    refused_or_done = frozenset({0, 1})
    return [
        *told,
        [Order(("refunds", "approve", APPROVED, "2", *_because(10)))],
        [Order(("refunds", "reject", REJECTED, "2", *_because(11)))],
        [Order(("adjust", GIVEN, "+5", "--id", "order-1", *_because(1)))],
        [Order(("adjust", GIVEN, "+2", "--id", "order-2", *_because(2)))],
        [Order(("adjust", GIVEN, "-900", "--id", "order-3", *_because(3)), refused_or_done)],
        [Order(("dead-letters", "retry", "--topic", "plan-changed", *_because(12)), refused_or_done)],
        [Order(("dead-letters", "discard", "--topic", "prospect-exported", *_because(13)))],
    ]


def _story(story: Callable[[Scenario], None], now: datetime) -> Sequence[Step]:
    s = Scenario(story.__name__.replace("_", "-"), now - timedelta(hours=3))
    story(s)
    steps = _steps(s)
    if story is scenarios.conflict:
        last = steps[-1]
        assert isinstance(last, Tell)
        steps[-1] = Tell(last.event, is_dead=True)
    return steps


def _steps(scenario: Scenario) -> list[Step]:
    steps: list[Step] = []
    for one in scenario.steps:
        match one:
            case Told():
                steps.append(Tell(one.event))
            case Lies():
                steps.append(Raw(one.topic, one.value, one.headers, one.key, is_dead=False))
            case Ordered():
                raise AssertionError("people order by commands here")
    return steps


def _mixed(rng: random.Random, told: Sequence[Sequence[Step]]) -> list[Step]:
    """All, at random places, each in its own order."""
    places = [
        (place, step) for steps in told for place, step in zip(sorted(rng.random() for _ in steps), steps, strict=True)
    ]
    return [step for _, step in sorted(places, key=lambda pair: pair[0])]


def cut(steps: list[Step], sections: int) -> list[list[Step]]:
    """In parts of one size, but for the last."""
    size = -(-len(steps) // sections)
    return [steps[at : at + size] for at in range(0, sections * size, size)]


def _portions(section: Iterable[Step], events: int) -> list[list[Step]]:
    """What is sent at once: a few events; all else by itself."""
    portions: list[list[Step]] = []
    for is_told, steps in groupby(section, key=lambda step: isinstance(step, Tell) and not step.is_dead):
        together = list(steps)
        size = events if is_told else 1
        portions += [together[at : at + size] for at in range(0, len(together), size)]
    return portions


async def _send(portion: Sequence[Step], upstream: Upstream, scene: Scene) -> None:
    for step in portion:
        if isinstance(step, Raw):
            place = await upstream.send_raw(step.topic, step.value, step.headers, step.key)
            if step.is_dead:
                scene.dead.add(place)
    told = [step for step in portion if isinstance(step, Tell)]
    sent = await upstream.send(step.event for step in told)
    scene.dead |= {(at.topic, at.partition, at.offset) for at, step in zip(sent, told, strict=True) if step.is_dead}


async def give(order: Order, scene: Scene, within_seconds: float = COMMAND_SECONDS_MAX) -> None:
    """A person gives the order again and again, until it is answered; each time it may take so long."""
    said = ""

    async def is_answered() -> bool:
        nonlocal said
        done = await asyncio.to_thread(
            run_credits_within,
            within_seconds,
            "",
            *order.arguments,
            folder=scene.deployment.folder,
            **settings_of(scene.deployment),
        )
        said = done.stderr
        return done.returncode in order.answers

    try:
        await eventually(is_answered, within_seconds=_ANSWER_SECONDS_MAX + within_seconds)
    except AssertionError as error:
        raise AssertionError(f"{' '.join(order.arguments)}: {said}") from error


@asynccontextmanager
async def on_duty(scene: Scene) -> AsyncIterator[None]:
    """For as long as this lasts, a person has the flooded topic go on whenever it is paused; `scene.resumed` counts.

    A member pauses it a moment after what it counted is stored, so that no look at what was read shows the last pause.
    """
    over = asyncio.Event()

    async def resume() -> None:
        while not over.is_set():
            # The last of these is what comes where a session is ended between two of a statement's steps.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                if await _is_paused(scene):
                    await eventually(partial(_is_resumed, scene), within_seconds=_ANSWER_SECONDS_MAX)
                    scene.resumed += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), patience(_LOOKS_EVERY_SECONDS))

    async with asyncio.TaskGroup() as people:
        people.create_task(resume())
        try:
            yield
        finally:
            over.set()


async def _is_paused(scene: Scene) -> bool:
    connection = await scene.connect()
    try:
        paused = "SELECT true FROM credits.paused_topics WHERE topic = $1"
        topic = scene.deployment.topic(FLOODED_TOPIC)
        return bool(await connection.fetchval(paused, topic, timeout=patience(5)))
    finally:
        connection.terminate()


async def _is_resumed(scene: Scene) -> bool:
    """Gives the order, and looks: one whose answer is lost may have been carried out."""
    await asyncio.to_thread(
        run_credits, "resume", FLOODED_TOPIC, folder=scene.deployment.folder, **settings_of(scene.deployment)
    )
    return not await _is_paused(scene)


async def _flood(flood: Flood, scene: Scene) -> None:
    """Once more if a fault came between: the messages are then not all counted as one row."""
    before = scene.resumed

    async def is_resumed_or_read(end: int, partition: int) -> bool:
        if scene.resumed > before:
            return True
        connection = await scene.connect()
        try:
            stored = (
                "SELECT true FROM credits.partition_offsets WHERE (topic, partition) = ($1, $2) AND next_offset >= $3"
            )
            return bool(await connection.fetchval(stored, scene.deployment.topic(flood.topic), partition, end))
        finally:
            await connection.close()

    async with scene.deployment.upstream() as upstream:
        for _ in range(20):
            places = [await upstream.send_raw(flood.topic, b"not json", key=b"flood") for _ in range(FLOOD)]
            scene.dead |= set(places)
            _, partition, last = places[-1]
            await eventually(partial(is_resumed_or_read, last + 1, partition), within_seconds=_ANSWER_SECONDS_MAX)
            if scene.resumed > before:
                return
    raise AssertionError(f"{flood.topic} was not paused")
