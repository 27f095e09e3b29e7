"""`credits dead-letters` on the real ledger: what was not decided is decided once, by the way of every event."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest

from credit_contracts import Event, IncomingData, PlanChanged, ProspectGenerated, encode
from credit_contracts.naming import topic_name
from credit_service import bounds
from credit_service.application.commands.read_progress import ReadProgress
from credit_service.application.dead_letters.desk import DeadLetterDesk
from credit_service.application.dead_letters.model import LetterAnswer, Letters
from credit_service.application.processing.outgoing_record import outgoing_record
from credit_service.application.processing.parked_expiry import ParkedExpiry
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record, read_record
from credit_service.domain import decide as domain
from credit_service.domain.event import Place
from credit_service.domain.rules import Rules
from credit_service.kafka.ranges.unpack import BatchInFile
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.outbox import PostgresOutbox
from credit_service.postgres.operator.dead_letters import PostgresDeadLetters
from credit_service.postgres.operator.operations import PostgresOperationLog
from credit_service.postgres.pool import open_pool
from support.clock import Clock
from support.credits import CREDITS, environment, run_credits
from support.cursed import CURSED, curse
from support.locks import waiting_for_a_lock
from support.wait import eventually

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from credit_service.postgres.pool import Pool
    from support.service import Deployment

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
ACCOUNT = "acme"
HEADERS = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"x"),
    ("ce_source", b"/tests"),
    ("ce_type", b"prospect-generated"),
    ("ce_time", b"2026-03-10T11:00:00Z"),
]
BECAUSE = ("--reason", "mended", "--operator", "lee")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_offsets = count()


def plan(at: datetime = NOW, *, account: str = ACCOUNT, name: str = "p", monthly: int = 1_000) -> Event[IncomingData]:
    data = PlanChanged(account_id=account, plan_id=name, monthly_credits=monthly)
    return Event("/tests", f"{account}-{name}", "plan-changed", at, data)


def generated(
    prospect: str, at: datetime = NOW + timedelta(hours=1), *, account: str = ACCOUNT, event_id: str = ""
) -> Event[IncomingData]:
    """Too early for the clock as it stands at first."""
    data = ProspectGenerated(account_id=account, prospect_id=prospect)
    return Event("/tests", event_id or f"{account}-{prospect}", topic_name(type(data)), at, data)


def record_of(event: Event[IncomingData]) -> Record:
    """At a place of its own."""
    encoded = encode(event)
    place = Place(event.type, 0, next(_offsets))
    return read_record(place, event.type, encoded.key, encoded.value, encoded.headers, 1_000)


def unreadable(value: bytes | None = b"{", topic: str = "prospect-generated") -> Record:
    headers = [(name, said.replace(b"prospect-generated", topic.encode())) for name, said in HEADERS]
    return read_record(Place(topic, 0, next(_offsets)), topic, b"k\x00", value, headers, 1_000)


@dataclass
class Desk:
    """The desk on one database, whose clock stands where it is put."""

    database_url: str
    folder: Path
    pool: Pool
    clock: Clock
    connection: Connection
    rules: Rules = field(default_factory=Rules)

    @property
    def ledger(self) -> PostgresLedger:
        return PostgresLedger(self.pool, unparked_max=100)

    @property
    def desk(self) -> DeadLetterDesk:
        letters = PostgresDeadLetters(self.pool, unparked_max=100)
        reading = ReadProgress(self.ledger)
        return DeadLetterDesk(letters, PostgresOperationLog(self.pool), self.rules, BatchInFile(str), reading)

    async def take(self, *records: Record) -> None:
        """As the service would, without moving any offset."""
        await Processor(self.ledger, self.rules, moves_offsets=False).process(records, asyncio.Event())

    async def letters(self, *events: Event[IncomingData]) -> list[Record]:
        """Dead letters, numbered as given, of events that were ahead of the clock; it is put to where they are not."""
        records = [record_of(event) for event in events]
        for record in records:
            await self.take(record)
        await self.clock.set(LATER)
        return records

    async def retry(self, *ids: int, **options: Any) -> list[LetterAnswer]:
        which = options.pop("which", Letters(ids=ids) if ids else Letters())
        batches = self.desk.retry(which, operator="lee", reason="mended", **options)
        return [answer async for batch in batches for answer in batch]

    async def became(self, *ids: int, **options: Any) -> dict[int, str | None]:
        return {a.dead_letter_id: a.outcome or a.reason or a.became for a in await self.retry(*ids, **options)}

    async def rows(self) -> list[dict[str, Any]]:
        rows = await self.connection.fetch("SELECT *, status::text FROM credits.dead_letters ORDER BY dead_letter_id")
        return [dict(row) for row in rows]

    async def everything(self) -> list[list[asyncpg.Record]]:
        tables = "accounts decisions entries grants prospects dead_letters outbox parked_events partition_offsets"
        return [
            await self.connection.fetch(f"SELECT * FROM credits.{table} ORDER BY 1, 2, 3") for table in tables.split()
        ]

    async def outcomes(self) -> list[str]:
        rows = await self.connection.fetch("SELECT outcome::text FROM credits.decisions ORDER BY account_no, position")
        return [row["outcome"] for row in rows]

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        chosen = {"database_url": self.database_url, "kafka_bootstrap_servers": "127.0.0.1:1"} | settings
        return run_credits("dead-letters", *arguments, folder=self.folder, **chosen)

    def told(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        done = self.run(*arguments, "--output", "json")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    @asynccontextmanager
    async def locked(self, statement: str, waiting: int) -> AsyncIterator[None]:
        """Holds rows until so many others wait for them."""
        connection = await asyncpg.connect(self.database_url)
        try:
            async with connection.transaction():
                await connection.fetch(statement)
                yield

                async def all_wait() -> bool:
                    return await waiting_for_a_lock(self.connection) >= waiting

                await eventually(all_wait, what=f"{waiting} wait")
        finally:
            await connection.close()


@pytest.fixture
async def at(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    connection = await asyncpg.connect(database_url)
    async with Clock.replacing(database_url, NOW) as clock, open_pool(database_url, 12) as pool:
        yield Desk(database_url, tmp_path, pool, clock, connection)
    await connection.close()


# --- retry


async def test_a_letter_is_resolved_with_its_effect_by_whom_and_why(at: Desk) -> None:
    await at.take(record_of(plan()))
    await at.letters(generated("ann"))
    await at.connection.execute(
        "INSERT INTO credits.partition_offsets (topic, partition, next_offset) VALUES ('prospect-generated', 0, 5)"
    )
    offsets = await at.connection.fetch("SELECT * FROM credits.partition_offsets")

    (answer,) = await at.retry(1)

    assert (answer.became, answer.outcome) == ("resolved", "charged")
    (row,) = await at.rows()
    assert (row["status"], row["outcome"], row["operator"], row["comment"]) == ("resolved", "charged", "lee", "mended")
    assert (row["ended_at"], row["retries"]) == (LATER, 0)
    assert await at.outcomes() == ["plan-in-force", "charged"]
    decision = await at.connection.fetchrow('SELECT partition, "offset" FROM credits.decisions WHERE position = 2')
    assert decision is not None
    assert tuple(decision) == (row["partition"], row["offset"])
    published = await at.connection.fetchval(
        "SELECT payload FROM credits.outbox WHERE payload IS NOT NULL ORDER BY outbox_id DESC LIMIT 1"
    )
    assert json.loads(published)["balance"] == 999
    assert await at.connection.fetch("SELECT * FROM credits.partition_offsets") == offsets


async def test_a_letter_stays_as_it_is_while_events_of_its_account_wait_to_be_read(
    at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_service.application.commands.read_progress.WAIT_SECONDS_MAX", 0)
    await at.take(record_of(plan()))
    await at.letters(generated("ann"))
    reach = "INSERT INTO credits.partitions_read VALUES (0, 1, $1, $1)"
    await at.connection.execute(reach, LATER - timedelta(minutes=1))
    before = await at.everything()

    for dry_run in (True, False):
        (answer,) = await at.retry(1, dry_run=dry_run)
        assert (answer.became, answer.reason) == ("failed", "behind")
        assert answer.detail is not None
        assert f"read up to {LATER - timedelta(minutes=1):%Y-%m-%d %H:%M:%S} UTC only" in answer.detail
    assert await at.everything() == before, "nor is it noted as why it waits"

    await at.connection.execute("UPDATE credits.partitions_read SET noted_at = $1, read_until = $1", LATER)
    assert await at.became(1) == {1: "charged"}


async def test_a_letter_is_retried_as_the_account_stands(at: Desk) -> None:
    """Though a month has turned since, of which events may wait to be read."""
    await at.take(record_of(plan()))
    await at.letters(generated("ann", LATER))
    await at.clock.set(LATER + timedelta(days=40))
    await at.connection.execute("INSERT INTO credits.partitions_read VALUES (0, 1, $1, $1)", LATER)

    done = at.told("retry", "1", "--reason", "mended", "--operator", "lee", "--as-it-stands")

    assert [(a["became"], a["outcome"]) for a in done[1]] == [("resolved", "charged")]
    rows = await at.connection.fetch("SELECT type::text, note FROM credits.decisions_by_account ORDER BY position")
    assert [tuple(row) for row in rows] == [("plan-changed", None), ("prospect-generated", "decided as it stood")]


async def test_what_was_retried_before_has_no_second_effect(at: Desk) -> None:
    await at.take(record_of(plan()))
    await at.letters(generated("ann"))
    await at.retry(1)
    before = await at.everything()

    (again,) = await at.retry(1)

    assert (again.became, again.outcome) == ("resolved-before", "charged")
    assert await at.retry() == []
    assert await at.everything() == before


async def test_each_letter_has_an_outcome_of_its_own(at: Desk) -> None:
    await at.take(record_of(plan()), record_of(generated("old", NOW)))
    late = NOW + timedelta(hours=1)
    await at.letters(
        generated("ann"),
        generated("ann"),  # once more, from another place
        generated("old", late, event_id="again"),
        generated("other", late, event_id="acme-ann"),  # the same id with other content
        generated("early", late, account="newcomer"),
        generated("early", late, account="newcomer"),
    )
    # The second one's place once more with another header, as in a topic that was made anew.
    await at.connection.execute(
        """INSERT INTO credits.dead_letters (topic, partition, "offset", digest, reason, detail, key, value, headers,
            timestamp_ms, created_at)
        SELECT topic, partition, "offset", decode(md5('other'), 'hex'), reason, detail, key, value, headers,
            timestamp_ms, created_at
        FROM credits.dead_letters WHERE dead_letter_id = 1"""
    )

    answers = await at.retry()

    assert {a.dead_letter_id: a.outcome or a.reason for a in answers} == {
        1: "charged",
        2: "duplicate",
        3: "free",
        4: "conflict",
        5: "parked",
        6: "duplicate",
        7: "duplicate",
    }
    assert [row["status"] for row in await at.rows()] == ["resolved"] * 3 + ["waiting"] + ["resolved"] * 3
    assert await at.outcomes() == ["plan-in-force", "charged", "charged", "free"]


async def test_letters_are_taken_in_order_of_occurrence_and_not_of_their_numbers(at: Desk) -> None:
    begins = NOW + timedelta(minutes=30)
    await at.letters(generated("ann"), generated("bob", begins + timedelta(minutes=1)), plan(begins, monthly=1))

    assert await at.became() == {1: "declined", 2: "charged", 3: "plan-in-force"}


async def test_more_than_are_ordered_at_a_time_are_in_order_too(at: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LETTERS_ORDERED_MAX", 3)
    monkeypatch.setattr(bounds, "LETTERS_PER_BATCH_MAX", 2)
    times = [NOW + timedelta(minutes=n) for n in (16, 11, 19, 13, 14, 20, 12, 17, 15, 18)]
    await at.letters(*(generated(f"p{n}", when) for n, when in enumerate(times)), plan(NOW + timedelta(minutes=10)))
    # More than one round's worth that waits on, at Kafka's time, which is long ago.
    await at.take(*(unreadable() for _ in range(4)))

    *answers, _, _, _, _ = sorted(await at.retry(), key=lambda a: a.became, reverse=True)

    in_order = [11, *(1 + times.index(when) for when in sorted(times))]
    assert [a.dead_letter_id for a in answers] == in_order
    assert [a.outcome for a in answers] == ["plan-in-force"] + ["charged"] * 10


async def test_what_cannot_be_read_or_decided_again_waits_on_with_why(at: Desk) -> None:
    await at.take(record_of(plan()), unreadable(), record_of(generated("ann")))

    failed = await at.retry()

    assert {a.dead_letter_id: a.reason for a in failed} == {1: "not-json", 2: "from-the-future"}
    assert {a.became for a in failed} == {"failed"}
    for _ in range(2):
        await at.retry(1)
    broken, early = await at.rows()
    assert (broken["status"], broken["retries"], broken["retried_at"]) == ("waiting", 3, NOW)
    assert (broken["retry_reason"], early["retry_reason"]) == ("not-json", "from-the-future")
    assert broken["retry_detail"]
    assert (early["retries"], early["operator"], early["comment"]) == (1, None, None)


async def test_what_the_ledger_refuses_fails_alone(at: Desk) -> None:
    await at.connection.execute("ALTER TABLE credits.plans ADD CONSTRAINT no_curse CHECK (plan_id <> 'cursed')")
    names = [f"a{n}" for n in range(7)]
    soon = NOW + timedelta(hours=1)
    await at.letters(*(plan(soon, account=n, name="cursed" if n in ("a2", "a5") else "fine") for n in names))

    became = await at.became()

    refused = {3: "refused-by-database", 6: "refused-by-database"}
    assert became == dict.fromkeys(range(1, 8), "plan-in-force") | refused
    rows = await at.rows()
    assert {row["dead_letter_id"] for row in rows if row["status"] == "waiting"} == {3, 6}
    assert {row["retries"] for row in rows if row["status"] == "waiting"} == {1}
    assert "no_curse" in rows[2]["retry_detail"]
    await at.connection.execute("ALTER TABLE credits.plans DROP CONSTRAINT no_curse")
    assert await at.became() == {3: "plan-in-force", 6: "plan-in-force"}


async def test_what_the_rules_fail_on_fails_alone(at: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await at.take(record_of(plan()))
    await at.letters(*(generated(f"p{n}") for n in range(5)))
    decide = domain.decide

    def failing(accounts: Any, inputs: Any, *more: Any) -> Any:
        if any(getattr(item.data, "prospect_id", "") == "p3" for item in inputs):
            raise ZeroDivisionError
        return decide(accounts, inputs, *more)

    monkeypatch.setattr("credit_service.application.processing.fold.decide", failing)

    assert await at.became() == dict.fromkeys(range(1, 6), "charged") | {4: "undecidable"}


async def test_what_a_retried_plan_lets_in_and_the_rules_fail_on_is_a_letter_of_its_own(
    at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.take(*(record_of(generated(p, NOW)) for p in ("ann", CURSED, "bob")))
    await at.letters(plan(NOW + timedelta(hours=1)))
    curse(monkeypatch)

    assert await at.became(1) == {1: "plan-in-force"}
    assert await at.outcomes() == ["plan-in-force", "charged", "charged"]
    told = [(row["status"], row["reason"]) for row in await at.rows()]
    assert told == [("resolved", "from-the-future"), ("waiting", "undecidable")]


async def test_months_that_are_too_many_to_come_along_come_first(at: Desk) -> None:
    at.rules = Rules(first_plan_age_months_max=1_200)
    await at.take(record_of(plan(NOW - timedelta(days=3_000), account="old")))
    first_plan = plan(NOW - timedelta(days=3_000), account="new")
    await at.letters(generated("ann", account="old"))
    # As it would be after a defect that is mended: readable, and never decided.
    await at.connection.execute(
        'INSERT INTO credits.dead_letters (topic, partition, "offset", digest, reason, detail, key, value, headers, '
        "timestamp_ms, created_at) VALUES ('plan-changed', 0, 77, decode(md5('d'), 'hex'), 'undecidable', '', $1, $2, "
        "(SELECT json_agg(json_build_array(n, encode(convert_to(v, 'UTF8'), 'base64'))) "
        "FROM unnest($3::text[], $4::text[]) AS h (n, v)), 0, now())",
        encode(first_plan).key,
        encode(first_plan).value,
        [name for name, _ in encode(first_plan).headers],
        [value.decode() for _, value in encode(first_plan).headers],
    )

    assert await at.became() == {1: "charged", 2: "plan-in-force"}
    assert (await at.outcomes()).count("renewed") > 90


async def test_a_dry_run_says_what_would_become_of_each_and_keeps_nothing(at: Desk) -> None:
    await at.connection.execute("ALTER TABLE credits.plans ADD CONSTRAINT no_curse CHECK (plan_id <> 'cursed')")
    await at.take(record_of(plan()), unreadable())
    await at.letters(generated("ann"), generated("bob"), plan(NOW + timedelta(hours=1), account="c", name="cursed"))
    before = await at.everything()

    assert await at.became(dry_run=True) == {1: "not-json", 2: "charged", 3: "charged", 4: "refused-by-database"}
    assert await at.everything() == before
    assert await at.connection.fetchval("SELECT count(*) FROM credits.operations") == 0


# --- at once


async def test_two_retries_at_once_have_one_effect(at: Desk) -> None:
    await at.take(record_of(plan()))
    await at.letters(*(generated(f"p{n}") for n in range(5)))

    async with at.locked("SELECT 1 FROM credits.accounts FOR UPDATE", 4):
        retries = [asyncio.create_task(at.retry()) for _ in range(4)]
    answers = [answer for retry in retries for answer in await retry]

    assert await at.outcomes() == ["plan-in-force"] + ["charged"] * 5
    assert sorted(a.became for a in answers) == ["resolved"] * 5 + ["resolved-before"] * 15
    assert {a.outcome for a in answers} == {"charged"}


@pytest.mark.parametrize("first", ["retry", "live"])
async def test_a_retry_and_the_same_message_live_have_one_effect(at: Desk, first: str) -> None:
    await at.take(record_of(plan()))
    (record,) = await at.letters(generated("ann"))

    async def waits(number: int) -> None:
        async def do_wait() -> bool:
            return await waiting_for_a_lock(at.connection) == number

        await eventually(do_wait)

    async with at.locked("SELECT 1 FROM credits.accounts FOR UPDATE", 2):
        tasks: list[asyncio.Task[Any]] = []
        for number, who in enumerate([first, "live" if first == "retry" else "retry"], 1):
            tasks.append(asyncio.create_task(at.take(record) if who == "live" else at.became()))
            await waits(number)
    await asyncio.gather(*tasks)

    assert await at.outcomes() == ["plan-in-force", "charged"]
    (row,) = await at.rows()
    assert (row["status"], row["outcome"]) == ("resolved", "charged" if first == "retry" else "duplicate")
    assert await at.connection.fetchval("SELECT balance FROM credits.accounts") == 999


async def test_a_letter_that_is_discarded_meanwhile_is_not_retried(at: Desk) -> None:
    await at.take(record_of(plan()))
    await at.letters(generated("ann"))
    async with at.locked(
        "UPDATE credits.dead_letters SET status = 'discarded', operator = 'x', ended_at = now() RETURNING 1", 1
    ):
        retry = asyncio.create_task(at.retry(1))

    (answer,) = await retry
    assert answer.became == "discarded-before"
    assert await at.outcomes() == ["plan-in-force"]


# --- killed


@pytest.mark.parametrize(("kill_at", "done"), [("inside-transaction:2", 1), ("after-commit:2", 2)])
async def test_a_retry_that_is_killed_leaves_nothing_half_and_goes_on(at: Desk, kill_at: str, done: int) -> None:
    await at.take(record_of(plan()))
    many = 2 * bounds.LETTERS_PER_BATCH_MAX + 20
    await at.letters(*(generated(f"p{n}") for n in range(many)))
    retry = ("retry", "--all", "--yes", *BECAUSE)

    killed = await asyncio.to_thread(at.run, *retry, kill_at=kill_at)

    assert killed.returncode == -signal.SIGKILL
    resolved = [row for row in await at.rows() if row["status"] == "resolved"]
    assert len(resolved) == done * bounds.LETTERS_PER_BATCH_MAX == (await at.outcomes()).count("charged")
    again = await asyncio.to_thread(at.run, *retry)
    assert again.returncode == 0
    assert len(again.stdout.splitlines()) == many - len(resolved)
    assert (await at.outcomes()).count("charged") == many
    assert {row["outcome"] for row in await at.rows()} == {"charged"}
    operations = await at.connection.fetch("SELECT * FROM credits.operations ORDER BY operation_id")
    assert [row["ended_as"] for row in operations] == [None, "done"]
    assert json.loads(operations[1]["result"]) == {"resolved": many - len(resolved)}
    assert {(row["kind"], row["operator"], row["reason"]) for row in operations} == {
        ("dead-letters-retry", "lee", "mended")
    }


@pytest.mark.parametrize("way", ["interrupted", "nobody reads"])
async def test_a_retry_that_is_ended_from_outside_is_no_traceback_and_goes_on(at: Desk, way: str) -> None:
    await at.take(record_of(plan()))
    soon, first = NOW + timedelta(hours=1), bounds.LETTERS_PER_BATCH_MAX
    await at.letters(*(generated(f"p{n}", soon + timedelta(seconds=n)) for n in range(first + 5)))
    settings = {"database_url": at.database_url, "kafka_bootstrap_servers": "127.0.0.1:1"}
    # Interrupted while its second batch waits: of a signal that comes at its very end Python itself dies.
    held, waiting = {
        "interrupted": (f"SELECT 1 FROM credits.dead_letters WHERE dead_letter_id > {first} FOR UPDATE", 0),
        "nobody reads": ("SELECT 1 FROM credits.accounts FOR UPDATE", 1),
    }[way]
    async with at.locked(held, waiting):
        process = await asyncio.create_subprocess_exec(
            *(CREDITS, "dead-letters", "retry", "--all", "--yes", *BECAUSE),
            env=environment(**settings),
            cwd=at.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        await process.stderr.readline()
        if way == "nobody reads":
            process.stdout._transport.close()  # type: ignore[attr-defined] # a reader that goes away
        else:
            await eventually(lambda: waiting_for_a_lock(at.connection), what="its second batch waits")
            process.send_signal(signal.SIGINT)
    talk = await process.stderr.read()
    exit_code = await process.wait()

    assert "Traceback" not in talk.decode()
    assert exit_code in ((130,) if way == "interrupted" else (1, 141))
    charged = (await at.outcomes()).count("charged")
    assert charged >= first
    assert charged == [row["status"] for row in await at.rows()].count("resolved")
    assert {a.became for a in await at.retry()} <= {"resolved"}
    assert (await at.outcomes()).count("charged") == bounds.LETTERS_PER_BATCH_MAX + 5


async def test_an_interrupted_retry_of_a_group_is_noted_as_such(at: Desk) -> None:
    await at.take(record_of(plan()))
    await at.letters(generated("ann"))
    holder = await asyncpg.connect(at.database_url)
    async with holder.transaction():
        await holder.execute("SELECT 1 FROM credits.accounts FOR UPDATE")
        process = await asyncio.create_subprocess_exec(
            *(CREDITS, "dead-letters", "retry", "--all", "--yes", *BECAUSE),
            env=environment(database_url=at.database_url, kafka_bootstrap_servers="127.0.0.1:1"),
            cwd=at.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

        await eventually(lambda: waiting_for_a_lock(at.connection))
        process.send_signal(signal.SIGINT)
        told, talk = await process.communicate()
    await holder.close()

    assert (process.returncode, told) == (130, b"")
    assert b"Traceback" not in talk
    (operation,) = await at.connection.fetch("SELECT ended_as, result FROM credits.operations")
    assert tuple(operation) == ("interrupted", "{}")
    assert [row["status"] for row in await at.rows()] == ["waiting"]
    assert await at.outcomes() == ["plan-in-force"]


# --- parked, and then in vain


async def parked_in_vain(at: Desk) -> Record:
    (record,) = await at.letters(generated("ann"))
    assert await at.became(1) == {1: "parked"}
    await at.connection.execute("DELETE FROM credits.outbox")
    await at.clock.set(LATER + timedelta(hours=25))
    expired = await ParkedExpiry(at.ledger, timedelta(hours=24)).sweep([0, 1, 2], 3)
    assert expired.dead_letters == {"parked-too-long": 1}
    return record


@pytest.mark.parametrize("is_erased", [False, True])
async def test_a_letter_that_was_parked_in_vain_waits_again_and_is_published_again(at: Desk, is_erased: bool) -> None:
    if is_erased:
        (record,) = await at.letters(generated("ann"))
        await at.retry(1)
        await at.desk.erase([1], operator="lee")
        await at.connection.execute("DELETE FROM credits.outbox")
        await at.clock.set(LATER + timedelta(hours=25))
        expired = await ParkedExpiry(at.ledger, timedelta(hours=24)).sweep([0, 1, 2], 3)
        assert expired.dead_letters == {"parked-too-long": 1}
    else:
        record = await parked_in_vain(at)

    (row,) = await at.rows()
    assert (row["status"], row["reason"], row["outcome"]) == ("waiting", "parked-too-long", None)
    assert (row["operator"], row["comment"], row["ended_at"], row["erased_at"]) == (None, None, None, None)
    assert (row["key"], row["value"]) == (record.key, record.value)
    assert await at.connection.fetch("SELECT topic, key, dead_letter_id FROM credits.outbox") == [
        ("credit-service-dead-letters", record.key, 1)
    ]
    await at.take(record_of(plan(NOW)))
    assert await at.became(1) == {1: "charged"}


@pytest.mark.parametrize("end", ["none", "discarded", "resolved"])
async def test_an_unreadable_record_that_is_read_again_changes_nothing(at: Desk, end: str) -> None:
    record = unreadable()
    await at.take(record)
    if end == "discarded":
        [_ async for _ in at.desk.discard(Letters(ids=[1]), operator="lee", reason="test")]
    elif end == "resolved":
        await at.connection.execute(
            "UPDATE credits.dead_letters SET status = 'resolved', outcome = 'charged', operator = 'x', ended_at = now()"
        )
    before = await at.everything()

    await at.take(record)

    assert await at.everything() == before


# --- discard and erase


async def test_a_discarded_letter_is_kept_with_who_and_why_and_is_not_retried(at: Desk) -> None:
    await at.take(record_of(plan()))
    await at.letters(generated("ann"), generated("bob"))
    await at.retry(2)

    exit_code, told = await asyncio.to_thread(at.told, "discard", "1", "2", "--yes", *BECAUSE)

    assert (exit_code, [line["became"] for line in told]) == (1, ["discarded", "resolved-before"])
    row = (await at.rows())[0]
    assert (row["status"], row["operator"], row["comment"], row["outcome"]) == ("discarded", "lee", "mended", None)
    assert row["value"] is not None
    assert (await at.retry(1))[0].became == "discarded-before"
    assert (await at.outcomes()).count("charged") == 1
    exit_code, told = await asyncio.to_thread(at.told, "discard", "1", "--yes", *BECAUSE)
    assert (exit_code, told[0]["became"]) == (0, "discarded-before")


async def test_a_group_is_discarded_after_asking_and_only_the_group(at: Desk) -> None:
    for record in (unreadable(), unreadable(None), unreadable(topic="email-bounced"), unreadable()):
        await at.take(record)
    group = ("discard", "--topic", "prospect-generated", "--because", "not-json", *BECAUSE)

    trial = await asyncio.to_thread(at.run, *group, "--dry-run")
    asked = await asyncio.to_thread(at.run, *group)
    assert (trial.returncode, asked.returncode) == (0, 2)
    assert "2  prospect-generated, not-json" in trial.stderr
    assert "--yes" in asked.stderr
    assert {row["status"] for row in await at.rows()} == {"waiting"}

    done = await asyncio.to_thread(at.run, *group, "--yes")
    assert (done.returncode, done.stdout) == (0, "#1: discarded\n#4: discarded\n")
    assert [row["status"] for row in await at.rows()] == ["discarded", "waiting", "waiting", "discarded"]
    (operation,) = await at.connection.fetch("SELECT * FROM credits.operations")
    assert (operation["kind"], json.loads(operation["result"])) == ("dead-letters-discard", {"discarded": 2})
    assert json.loads(operation["arguments"]) == {"topic": "prospect-generated", "reason": "not-json"}


async def test_what_is_erased_has_no_bytes_and_cannot_be_retried(at: Desk) -> None:
    await at.take(record_of(plan()))
    await at.letters(generated("ann"), generated("bob"))

    refused = await asyncio.to_thread(at.run, "erase", "1")
    assert refused.returncode == 2
    exit_code, told = await asyncio.to_thread(at.told, "erase", "1", "--operator", "lee", "--yes")

    assert (exit_code, [line["became"] for line in told]) == (0, ["erased"])
    erased, other = await at.rows()
    assert (erased["key"], erased["value"], erased["headers"], erased["erased_by"]) == (None, None, "[]", "lee")
    assert (erased["erased_at"], erased["status"]) == (LATER, "waiting")
    assert other["value"] is not None
    assert [a.became for a in await at.retry()] == ["erased-before", "resolved"]
    exit_code, told = await asyncio.to_thread(at.told, "retry", "1", *BECAUSE)
    assert (exit_code, told[0]["became"]) == (1, "erased-before")
    exit_code, told = await asyncio.to_thread(at.told, "erase", "1", "--yes")
    assert (exit_code, told[0]["became"]) == (0, "erased-before")
    assert (await at.rows())[0]["retries"] == 0


async def test_what_is_erased_before_it_was_published_is_published_without_its_bytes(at: Desk) -> None:
    await at.take(unreadable())
    await at.desk.erase([1], operator="lee")

    async with PostgresOutbox(at.database_url, at.pool).lead(lambda: None) as session:
        assert session is not None
        claim = await session.claim(10, 1_000_000)
    assert claim is not None
    record = outgoing_record(claim.rows[0], 3)
    assert (record.key, record.value) == (None, None)
    names = [name for name, _ in record.headers]
    assert all(name.startswith("credit_dead_letter_") for name in names)
    assert "credit_dead_letter_reason" in names


# --- the commands


async def test_list_counts_what_waits_by_topic_and_reason(at: Desk) -> None:
    await at.take(unreadable(), unreadable(None))
    await at.clock.set(NOW + timedelta(hours=3))
    await at.take(unreadable(), unreadable(topic="email-bounced"))
    [_ async for _ in at.desk.discard(Letters(ids=[2]), operator="lee", reason="test")]

    exit_code, groups = await asyncio.to_thread(at.told, "list")
    assert exit_code == 0
    assert [(g["topic"], g["reason"], g["letters"], g["oldest_seconds"], g["newest_seconds"]) for g in groups] == [
        ("email-bounced", "not-json", 1, 0, 0),
        ("prospect-generated", "not-json", 2, 10_800, 0),
    ]
    _, ended = await asyncio.to_thread(at.told, "list", "--all", "--because", "no-value")
    assert [(g["status"], g["letters"]) for g in ended] == [("discarded", 1)]
    for people in (await asyncio.to_thread(at.run, "list"), await asyncio.to_thread(at.run, "list", "--all")):
        assert all(word in people.stdout for word in ("prospect-generated", "not-json", "3 h ago"))
    nothing = await asyncio.to_thread(at.run, "list", "--topic", "plan-changed")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "No dead letter waits.\n")


async def test_list_shows_each_letter_up_to_a_bound(at: Desk) -> None:
    await at.take(unreadable(), unreadable(), record_of(generated("ann")))
    exit_code, lines = await asyncio.to_thread(at.told, "list", "--each", "--limit", "2")
    assert (exit_code, [line["dead_letter_id"] for line in lines]) == (0, [1, 2])
    people = await asyncio.to_thread(at.run, "list", "--each", "--because", "from-the-future")
    offset = (await at.rows())[2]["offset"]
    assert people.stdout == f"#3  prospect-generated/0/{offset}  acme  from-the-future  0 s old\n"


async def test_show_has_all_and_moves_no_cursor(at: Desk) -> None:
    hostile = '{"a": "\x1b[2J\u202e"}\nü'.encode()
    place = Place("prospect-generated", 2, 9)
    headers = [("ce_id", b"x\x1b[0m"), ("n\x1b", None), ("text", b"caf\xc3\xa9"), ("raw", b"\xff")]
    await at.take(
        read_record(place, "prospect-generated", b"\xff\x00", hostile, headers, int(NOW.timestamp() * 1000)),
        read_record(place, "prospect-generated", b"key", "{\n\t\u00fc".encode(), [], -1),
    )

    done = await asyncio.to_thread(at.run, "show", "1")
    assert done.returncode == 0
    assert all(character.isprintable() or character == "\n" for character in done.stdout)
    for word in (
        "#1",
        "prospect-generated, partition 2, offset 9",
        "2026-03-10 12:00:00 UTC",
        "hex ff00",
        "n\\x1b = none",
    ):
        assert word in done.stdout
    _, (shown,) = await asyncio.to_thread(at.told, "show", "1")
    assert shown["key"] == {"encoding": "hex", "data": "ff00"}
    assert bytes.fromhex(shown["value"]["data"]) == hostile
    assert shown["headers"][2] == {"name": "text", "value": {"encoding": "text", "data": "café"}}
    _, (other,) = await asyncio.to_thread(at.told, "show", "2")
    assert other["value"] == {"encoding": "text", "data": "{\n\tü"}
    assert other["kafka_at"] is None
    assert "{\\n\\tü" in (await asyncio.to_thread(at.run, "show", "2")).stdout


async def test_a_retry_tells_each_and_says_by_its_exit_code_whether_all_ended(at: Desk) -> None:
    await at.take(record_of(plan()), unreadable())
    await at.letters(generated("ann"))

    asked = await asyncio.to_thread(at.run, "retry", "--all", *BECAUSE)
    assert (asked.returncode, asked.stdout) == (2, "")
    some = await asyncio.to_thread(at.run, "retry", "--all", "--yes", *BECAUSE)
    assert some.returncode == 1
    assert some.stdout.splitlines()[1] == "#2: charged"
    assert some.stdout.startswith("#1: waits on: not-json, ")
    assert "1  prospect-generated, from-the-future" in some.stderr
    assert some.stderr.endswith("1 failed, 1 resolved\n")
    exit_code, told = await asyncio.to_thread(at.told, "retry", "2", *BECAUSE)
    assert (exit_code, told[0]["became"], told[0]["outcome"]) == (0, "resolved-before", "charged")
    dry_run = await asyncio.to_thread(at.run, "retry", "--because", "not-json", "--dry-run", *BECAUSE)
    assert "Nothing was kept" in dry_run.stderr


async def test_wrong_use_is_one_line_and_changes_nothing(at: Desk) -> None:
    """What is seen before the database is asked is tried in `tests/unit/cli/test_cli_arguments.py`."""
    await at.take(unreadable())
    before = await at.everything()
    for arguments, word in (
        (["show", "77"], "there is no dead letter 77"),
        (["retry", "77", *BECAUSE], "there is no dead letter 77"),
        (["erase", "77", "--yes"], "there is no dead letter 77"),
        (["retry", "1", "--all", *BECAUSE], "say which"),
        (["retry", "1", "--reason", "two\nlines"], "reason: between 1 and"),
        (["discard", "1", "--yes", "--reason", " "], "reason: between 1 and"),
    ):
        done = await asyncio.to_thread(at.run, *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert word in done.stderr
    assert await at.everything() == before


# --- with the service, on the real Kafka


async def test_what_was_retried_while_the_service_runs_keeps_every_promise(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    async with Clock.replacing(deployment.database_url, NOW) as clock, deployment.upstream() as upstream:
        service = await deployment.start()
        await upstream.send([plan(NOW - timedelta(days=1), monthly=3)])
        early = [generated(f"p{n}", NOW + timedelta(minutes=10 + n)) for n in range(5)]
        sent = await upstream.send(early)
        await upstream.send_raw("prospect-generated", b"{", HEADERS, key=b"acme")
        oracle = deployment.oracle()
        before = await oracle.check()
        assert len(before.dead_letters) == 6

        await clock.set(LATER)
        await upstream.send([early[4], generated("last", LATER)])
        done = await asyncio.to_thread(
            run_credits,
            *("dead-letters", "retry", "--all", "--yes", *BECAUSE, "--output", "json"),
            folder=deployment.folder,
            database_url=deployment.database_url,
            kafka_bootstrap_servers=deployment.kafka,
            topic_prefix=deployment.prefix,
        )
        assert done.returncode == 1
        observed = await oracle.check()

    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["became"] for line in told].count("resolved") == len(sent)
    taken = [d["outcome"] for d in observed.decisions if d["type"] == "prospect-generated"]
    assert sorted(taken) == ["charged"] * 3 + ["declined"] * 3
    assert await service.terminate() == 0
