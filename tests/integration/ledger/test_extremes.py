"""Every value that the contracts allow survives the way in, through Postgres, and out again in each answer.

No broker is needed: records go through the processor into the real ledger, and what is read there is what the HTTP API,
the commands and the relay read.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from credit_contracts import (
    CreditsPurchased,
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectGenerated,
    ProspectStageChanged,
    Unreadable,
    decode_outgoing,
    encode,
)
from credit_contracts.times import format_time
from credit_service.application.explain.model import MessageOutcome, ProspectHistory
from credit_service.application.opening.opening import Opening
from credit_service.application.opening.rows import _MODELS as ROW_MODELS
from credit_service.application.opening.rows import RefusedRow, Row, begin_rows, lines_of, read_rows
from credit_service.application.ports import WaitingEvent
from credit_service.application.processing.outgoing_record import outgoing_record
from credit_service.application.record import Record, read_record
from credit_service.cli.explain.json_document import document
from credit_service.cli.explain.tree import lines_of_account, lines_of_fate, lines_of_story
from credit_service.domain.audit.differences import differences
from credit_service.domain.audit.recompute import recompute
from credit_service.domain.command import Adjust
from credit_service.domain.event import AHEAD_MAX, EARLIEST, Place, Wake
from credit_service.domain.rules import Rules
from credit_service.http.app import create_api
from credit_service.postgres.explain.explain import PostgresExplains
from credit_service.postgres.operator.refunds import PostgresRefundRequests
from credit_service.postgres.pool import open_pool
from credit_service.postgres.reads.export import long_reads
from credit_service.postgres.reads.queries import PostgresReads
from credit_service.postgres.reconcile.audit import open_audit
from support.credits import run_credits
from support.explained import Ledger, ledger_of
from support.extremes import Extreme, extremes, of_field
from support.stack import fresh_database
from support.tokens import ACCESS, BEARER
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from credit_local_stack import Addresses
    from credit_service.application.processing.report import Report

NOW, LAST = datetime.now(UTC), datetime.max.replace(tzinfo=UTC)
CASES = list(extremes(NOW - timedelta(minutes=30)))
FORMULA = ("=", "+", "-", "@", "'")


def expected_reason(case: Extreme) -> str | None:
    """Why the record becomes a dead letter, by its contract and the times that the README names; None: it does not."""
    read = case.read
    if isinstance(read, Unreadable):
        return read.reason
    if read.time > NOW + AHEAD_MAX:
        return "from-the-future"
    return "before-1970" if read.time < EARLIEST else None


GOOD = [(case, case.read) for case in CASES if expected_reason(case) is None]


@dataclass(frozen=True)
class Taken:
    """The database that all cases went into, and what became of them."""

    url: str
    cases: list[Record]
    letters: dict[Place, str]
    after: Report


_offsets = count()


def record_of(event_type: str, key: str, value: bytes, headers: Iterable[tuple[str, bytes | None]]) -> Record:
    place = Place(event_type, 2**31 - 1, 2**63 - 10**6 + next(_offsets))
    return read_record(place, event_type, key.encode(), value, list(headers), 2**63 - 1)


def told(data: IncomingData, at: datetime) -> Record:
    reported = event(data, at)
    encoded = encode(reported)
    return record_of(reported.type, data.account_id, encoded.value, encoded.headers)


def accounts() -> list[str]:
    return list(dict.fromkeys(read.data.account_id for _, read in GOOD if isinstance(read, Event)))


async def take(ledger: Ledger) -> tuple[list[Record], dict[Place, str], Report]:
    """A first plan where the case is none, the case, and what comes after it in batches of their own."""
    planned = {read.data.account_id for case, read in GOOD if case.type == "plan-changed" if isinstance(read, Event)}
    first = [
        told(PlanChanged(account_id=name, plan_id="p", monthly_credits=10), NOW - timedelta(hours=1))
        for name in accounts()
        if name not in planned
    ]
    cases = [record_of(case.type, "key", case.value, case.raw_headers) for case in CASES]
    process = ledger.processor.process
    assert (await process(first, asyncio.Event())).became_letters == {}
    letters = (await process(cases, asyncio.Event())).became_letters
    after = []
    for name in accounts():
        after += [
            told(PlanChanged(account_id=name, plan_id="after", monthly_credits=20), NOW - timedelta(minutes=20)),
            told(CreditsPurchased(account_id=name, purchase_id="after", credits=5), NOW - timedelta(minutes=19)),
            told(ProspectGenerated(account_id=name, prospect_id="after"), NOW - timedelta(minutes=18)),
            told(EmailBounced(account_id=name, prospect_id="after"), NOW - timedelta(minutes=17)),
            told(ProspectGenerated(account_id=name, prospect_id="asks"), NOW - timedelta(minutes=16)),
            told(
                ProspectStageChanged(account_id=name, prospect_id="asks", stage="wrong-email"),
                NOW - timedelta(minutes=15),
            ),
        ]
    report = await process(after, asyncio.Event())
    await ledger.processor.wake([Wake(name, NOW, 10) for name in accounts()], asyncio.Event())
    return cases, letters, report


@pytest.fixture(scope="module")
def taken(stack: Addresses, database_template: str) -> Iterator[Taken]:
    with fresh_database(stack.database_url, database_template) as url:

        async def fill() -> Taken:
            async with ledger_of(url) as ledger:
                cases, letters, report = await take(ledger)
            return Taken(url, cases, letters, report)

        yield asyncio.run(fill())


def test_every_field_of_every_contract_has_extremes_that_are_taken() -> None:
    good = Counter((case.type, case.field) for case, _ in GOOD)
    fields = {(case.type, case.field) for case in CASES}
    assert {field for field in fields if good[field] == 0} == {(kind, "ce_type") for kind, _ in fields}
    instants = ("expires_at", "effective_at", "billing_anchor_at", "ce_time")
    assert {name for _, name in fields} >= {*instants, "account_id", "monthly_credits", "stage", "unknown"}
    # Not only the plainest of them.
    for (kind, name), number in good.items():
        assert number > 1 or name == "bounce_type", (kind, name)


def test_each_becomes_what_its_contract_says(taken: Taken) -> None:
    became = [taken.letters.get(record.place) for record in taken.cases]
    expected = [expected_reason(case) for case in CASES]
    assert [(c, was) for c, was, due in zip(CASES, became, expected, strict=True) if was != due] == []


def test_what_comes_after_it_is_decided(taken: Taken) -> None:
    assert taken.after.became_letters == {}
    assert not {"parked", "duplicate"} & set(taken.after.outcomes)


async def test_the_read_api_tells_all_of_it(taken: Taken) -> None:
    async with open_pool(taken.url) as pool:
        transport = httpx.ASGITransport(create_api(PostgresReads(pool), ACCESS))
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=BEARER) as client:

            async def ask(account_id: str, path: str = "", **given: str) -> dict[str, Any]:
                url = f"/v1/accounts/{quote(account_id, safe='')}{path}"
                answer = await client.get(f"{url}?{urlencode(given)}" if given else url)
                assert answer.status_code == 200, (account_id, answer.text)
                told: dict[str, Any] = answer.json()
                return told

            for case, read in GOOD:
                assert isinstance(read, Event)
                decided = await ask(read.data.account_id, "/decisions", source=read.source, id=read.id)
                assert (decided["account_id"], decided["source"], decided["id"], decided["type"]) == (
                    read.data.account_id, read.source, read.id, read.type,
                )  # fmt: skip
                assert decided["occurred_at"] == format_time(read.time), case
                assert decided["prospect_id"] == getattr(read.data, "prospect_id", None)
                account = await ask(read.data.account_id)
                entries = (await ask(read.data.account_id, "/entries", limit="100"))["entries"]
                if isinstance(read.data, CreditsPurchased):
                    expires_at = read.data.expires_at
                    text = None if expires_at is None else format_time(expires_at)
                    if expires_at is None or expires_at > datetime.now(UTC):
                        assert (read.data.credits, text) in {(g["amount"], g["expires_at"]) for g in account["grants"]}
                        assert read.data.credits in {e["amount"] for e in entries}
                causes = {(entry["cause"]["source"], entry["cause"]["id"]) for entry in entries}
                if decided["outcome"] in ("charged", "purchased") and len(entries) < 100:
                    assert (read.source, read.id) in causes, case


async def test_a_plan_comes_out_as_it_went_in(database_url: str) -> None:
    """Each alone, since the next one takes its place."""
    plans = [(case, read) for case, read in GOOD if isinstance(read, Event) and isinstance(read.data, PlanChanged)]
    plans = [(case, read) for case, read in plans if case.field not in ("ce_time", "effective_at")]
    async with ledger_of(database_url) as ledger, open_pool(database_url) as pool:
        records = [record_of(case.type, "key", case.value, case.raw_headers) for case, _ in plans]
        await ledger.processor.process(records, asyncio.Event())
        for case, read in plans:
            assert isinstance(read, Event)
            assert isinstance(read.data, PlanChanged)
            found = await PostgresReads(pool).account(read.data.account_id)
            assert found is not None
            assert found.plan is not None
            kept = read.data.model_dump(include={"plan_id", "monthly_credits", "seats", "email_accounts"})
            assert found.plan.model_dump() == kept, case
            assert found.balance == read.data.monthly_credits
            assert found.period is not None
            assert found.period.starts_at <= read.time < found.period.ends_at


async def test_explain_tells_all_of_it(taken: Taken) -> None:
    async with long_reads(taken.url) as connection:
        explains = PostgresExplains(connection, "")
        for name in accounts():
            async with explains.account(name, None, is_full=True) as found:
                assert not isinstance(found, str)
                shown = json.loads("".join([part async for part in document(found)]))
                assert shown["account_id"] == name
                assert shown["balance"] in (None, shown["held"])
            async with explains.account(name, None, is_full=True) as found:
                assert not isinstance(found, str)
                assert [line.text async for line in lines_of_account(found)]
        for case, read in GOOD:
            assert isinstance(read, Event)
            fate = await explains.message_outcome(read.data.account_id, read.source, read.id)
            assert isinstance(fate, MessageOutcome)
            assert fate.status == "decided", case
            assert json.loads(fate.model_dump_json())["account_id"] == read.data.account_id
            assert lines_of_fate(fate)
            if prospect := getattr(read.data, "prospect_id", None):
                story = await explains.prospect_history(read.data.account_id, prospect)
                assert isinstance(story, ProspectHistory)
                assert story.decisions
                assert lines_of_story(story)
                assert json.loads(story.model_dump_json())["prospect_id"] == prospect


async def test_the_audit_comes_to_the_same(taken: Taken) -> None:
    names, made = set(), {}
    async with open_audit(taken.url, "") as audit:
        async for block in audit.accounts(0, 1, None):
            for account, history in zip(block, await audit.histories(block), strict=True):
                names.add(account.account_id)
                recomputed = recompute(history, Rules())
                assert differences(history, recomputed) == [], account.account_id
                made[account.number] = recomputed.account
        assert await audit.differing_prospects(made) == []
    assert names >= set(accounts())


async def test_what_is_published_is_as_its_contract_says(taken: Taken) -> None:
    async with open_pool(taken.url) as pool:
        rows = await pool.fetch("SELECT * FROM credits.outbox WHERE payload IS NOT NULL ORDER BY outbox_id")
    heard = set()
    for row in rows:
        waiting = WaitingEvent(*(row[name] for name in "topic key event_id event_time payload".split()))
        record = outgoing_record(waiting, 12)
        published = decode_outgoing(record.headers, record.value)
        assert isinstance(published, Event), published
        assert record.key == published.data.account_id.encode()
        heard.add((published.data.account_id, published.data.cause.source, published.data.cause.id))
    async with open_pool(taken.url) as pool:
        for case, read in GOOD:
            assert isinstance(read, Event)
            found = await PostgresReads(pool).event(read.data.account_id, read.source, read.id)
            assert found is not None
            if found.status == "decided" and found.outcome in ("charged", "purchased", "declined"):
                assert (read.data.account_id, read.source, read.id) in heard, case


async def test_refund_requests_are_listed(taken: Taken) -> None:
    async with open_pool(taken.url) as pool:
        requests = PostgresRefundRequests(pool)
        lines = [line async for block in requests.lines("waiting", None, 100_000) for line in block]
        told = {json.loads(line.model_dump_json())["account_id"] for line in lines}
        assert told >= set(accounts())
        for line in lines[:: max(1, len(lines) // 50)]:
            shown = await requests.request(line.account_id, line.charge_sequence)
            assert shown is not None
            assert json.loads(shown.model_dump_json())["account_id"] == line.account_id


def commanded(taken: Taken, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = run_credits(*arguments, folder=folder, database_url=taken.url, kafka_bootstrap_servers="127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    return done


def test_rows_are_exported_whole(taken: Taken, tmp_path: Path) -> None:
    for rows_of in ("list", "entries"):
        lines = commanded(taken, tmp_path, "account", rows_of, "-o", "json").stdout.removesuffix("\n").split("\n")
        as_json = [json.loads(line) for line in lines]
        text = commanded(taken, tmp_path, "account", rows_of, "-o", "csv").stdout
        as_csv = list(csv.DictReader(io.StringIO(text, newline="")))
        assert commanded(taken, tmp_path, "account", rows_of).stdout
        assert {row["account_id"] for row in as_json} >= set(accounts())
        assert [_unmarked(row["account_id"]) for row in as_csv] == [row["account_id"] for row in as_json]
        assert len(as_csv) == len(as_json)


def _unmarked(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def test_accounts_and_letters_are_shown(taken: Taken, tmp_path: Path) -> None:
    names = sorted(accounts(), key=lambda name: (len(name.encode()), name))
    for name in (names[0], names[-1], *(n for n in names if n.startswith(("=", "[", "{", "'", ":")))):
        shown = json.loads(commanded(taken, tmp_path, "account", "show", "-o", "json", "--", name).stdout)
        assert shown["account_id"] == name
        commanded(taken, tmp_path, "account", "show", "--", name)
        commanded(taken, tmp_path, "explain", "--", name)
    commanded(taken, tmp_path, "refunds", "list", "--limit", "10000")
    listed = commanded(taken, tmp_path, "dead-letters", "list", "--each", "-o", "json", "--limit", "10000").stdout
    numbers = [json.loads(line)["dead_letter_id"] for line in listed.removesuffix("\n").split("\n")]
    assert len(numbers) == len(taken.letters)
    for number in (numbers[0], numbers[-1]):
        shown = json.loads(commanded(taken, tmp_path, "dead-letters", "show", str(number), "-o", "json").stdout)
        assert shown["kafka_at"] == "9999-12-31T23:59:59.999000Z"
        commanded(taken, tmp_path, "dead-letters", "show", str(number))


async def test_what_a_person_gives_may_be_the_largest(database_url: str) -> None:
    async with ledger_of(database_url) as ledger:
        await ledger.take([told(PlanChanged(account_id="acme", plan_id="p", monthly_credits=10**9), NOW)])
        for ends in (LAST, None, LAST - timedelta(microseconds=1)):
            given = Adjust(10**9, ends, "\U0010ffff" * 200, "\U0010ffff" * 1_000)
            assert await ledger.order("acme", given) == "adjusted"
        assert await ledger.order("acme", Adjust(-(10**9), None, "ops", "why")) == "adjusted"
    async with open_audit(database_url, "") as audit:
        async for block in audit.accounts(0, 1, None):
            for history in await audit.histories(block):
                assert differences(history, recompute(history, Rules())) == []


def opened_rows() -> list[bytes]:
    """A file to open: each field of each kind of row at its extremes, beneath an account's row of its own."""
    ordinary: dict[str, dict[str, object]] = {
        "account": {"plan_id": "p", "monthly_credits": 100, "billing_anchor_at": NOW.isoformat()},
        "purchase": {"purchase_id": "b", "credits": 1},
        "prospect": {"prospect_id": "p", "origin": "generated"},
    }
    rows: list[dict[str, object]] = []
    for kind, model in ROW_MODELS.items():
        fields = ordinary[kind]
        for field, schema in model.model_json_schema()["properties"].items():
            for nth, (_, value) in enumerate(of_field(schema, NOW)):
                name = value if field == "account_id" else f"{kind}-{field}-{nth}"
                if kind != "account":
                    rows.append({"record": "account", "account_id": name, **ordinary["account"]})
                rows.append({"record": kind, "account_id": name, **fields, field: value})
    return [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]


async def test_what_is_opened_may_be_the_largest(database_url: str) -> None:
    lines = opened_rows()
    read_fields, left = begin_rows(lines_of(io.BytesIO(b"".join(lines)).readline), "jsonl")
    rows = list(read_rows(left, read_fields, NOW))
    good = [row for row in rows if isinstance(row, Row)]
    assert len(rows) == len(lines)
    assert len(good) > len(rows) // 2
    async with ledger_of(database_url) as ledger, open_pool(database_url) as pool:
        opened: Counter[str] = Counter()
        refused: list[RefusedRow] = []
        async for batch in Opening(ledger.ledger, Rules()).batches(good):
            opened.update(batch.opened)
            refused += batch.refused
        # An account's row comes again for each of its extremes, and has begun already.
        assert {row.reason for row in refused} <= {"conflict", "expired"}
        assert opened["account"] == len({row.command.account_id for row in good if row.record == "account"})
        names = sorted({row.command.account_id for row in good})
        at = datetime.now(UTC)
        after = [told(ProspectGenerated(account_id=name, prospect_id="after"), at) for name in names]
        assert (await ledger.processor.process(after, asyncio.Event())).became_letters == {}
        for name in names:
            found = await PostgresReads(pool).account(name)
            assert found is not None
            assert json.loads(found.model_dump_json())["account_id"] == name
    async with open_audit(database_url, "") as audit:
        async for block in audit.accounts(0, 1, None):
            for history in await audit.histories(block):
                assert differences(history, recompute(history, Rules())) == []


@pytest.mark.parametrize(
    "asked",
    [
        ("explain", "acme", "--position", "{}"),
        ("refunds", "show", "acme", "{}"),
        ("refunds", "approve", "acme", "{}", "--reason", "why", "--yes"),
        ("dead-letters", "show", "{}"),
        ("dead-letters", "retry", "{}", "--reason", "why", "--yes"),
        ("account", "list", "--below", "{}"),
        ("account", "show", "\udcff"),
    ],
    ids=" ".join,
)
def test_what_no_column_holds_is_refused_in_one_line(taken: Taken, tmp_path: Path, asked: tuple[str, ...]) -> None:
    words = [word.format(2**80) for word in asked]
    done = run_credits(*words, folder=tmp_path, database_url=taken.url, kafka_bootstrap_servers="127.0.0.1:1")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
