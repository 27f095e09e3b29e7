"""What `credits explain` says adds up, for every account, at any time and after any decision."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from credit_contracts import (
    CreditsPurchased,
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
)
from credit_contracts.incoming import WRONG_EMAIL
from credit_service.application.explain.model import Elided, Explanation, When
from credit_service.domain.command import Adjust, DecideRefund, OpenAccount, OpenProspect, OpenPurchase
from credit_service.domain.event import Wake
from credit_service.postgres.explain.explain import PostgresExplains
from credit_service.postgres.reads.export import long_reads
from support.credits import run_credits
from support.explained import Ledger, LedgerInMemory, Stood, Watched, incoming, ledger_of, records_of
from support.traffic import event, month_of_traffic, random_traffic

BATCH = 60


def out_of_order(events: Sequence[Event[IncomingData]], rng: random.Random) -> list[Event[IncomingData]]:
    """As partitions that lag behind each other bring them: what is late may part stays, and undo refunds."""
    places = [(n + rng.choice([0, 0, 0, 4, 15, 60]), n) for n in range(len(events))]
    return [events[n] for _, n in sorted(places)]


def busy_prospects(rng: random.Random, events: int) -> list[Event[IncomingData]]:
    """A few prospects of one account, of which much is told in any order: most of it has effects later on."""
    began = datetime.now(UTC) - timedelta(days=9)
    kinds = [ProspectGenerated, ProspectExported, EmailBounced, ProspectDeleted, ProspectImported, ProspectStageChanged]
    told: list[IncomingData] = []
    for _ in range(events):
        kind: Any = rng.choice(kinds)
        more = {"stage": WRONG_EMAIL} if kind is ProspectStageChanged else {}
        told.append(kind(account_id="busy", prospect_id=f"p-{rng.randrange(5)}", **more))
    plan = PlanChanged(account_id="busy", plan_id="pro", monthly_credits=9)
    later = PlanChanged(account_id="busy", plan_id="max", monthly_credits=None, effective_at=began + timedelta(days=4))
    return [
        event(plan, began),
        event(later, began + timedelta(seconds=1)),
        *(event(data, began + timedelta(minutes=rng.randrange(1, 10_000))) for data in told),
    ]


async def explained(reading: asyncpg.Connection[Any], account_id: str, when: When, *, is_full: bool = True) -> Stood:
    """What it says of the account then, added up from the entries that it shows."""
    explains = PostgresExplains(reading, "")
    async with explains.account(account_id, when, is_full=is_full) as found:
        assert isinstance(found, Explanation), found
        return await added_up(found)


async def added_up(explanation: Explanation) -> Stood:
    summary = explanation.summary
    held: Counter[int] = Counter()
    async with aclosing(explanation.entries) as entries:
        async for entry in entries:
            if entry.grant_id is None:
                assert entry.amount == 0
            else:
                held[entry.grant_id] += entry.amount
            assert isinstance(entry, Elided) or entry.sequence <= summary.sequence
    told = {grant.grant_id: grant.remaining for grant in summary.grants}
    assert told == {grant.grant_id: held[grant.grant_id] for grant in summary.grants}
    assert set(held) <= set(told)
    assert all(sum(one.amount for one in grant.sums) == grant.remaining for grant in summary.grants)
    left_out = summary.grants_elided.remaining if summary.grants_elided else 0
    assert summary.held == sum(told.values()) + left_out
    assert summary.balance in (None, summary.held)
    assert (summary.balance is None) == summary.unlimited
    left = tuple(sorted((grant_id, left) for grant_id, left in told.items() if left))
    return Stood(summary.unlimited, summary.held, summary.sequence, summary.position, left)


async def play(ledger: Watched, events: Sequence[Event[IncomingData]], batch: int) -> None:
    """Takes the events in; the timers of all accounts follow after every `BATCH`, and people have a say at the end."""
    records = records_of(events)
    accounts = sorted({incoming(record).account_id for record in records})
    for begin in range(0, len(records), BATCH):
        part = records[begin : begin + BATCH]
        for at in range(0, len(part), batch):
            await ledger.take(part[at : at + batch])
        up_to = max(incoming(record).occurred_at for record in part)
        await ledger.wake([Wake(account_id, up_to, 1_000) for account_id in accounts])
    for number, account_id in enumerate(accounts):
        await ledger.order(account_id, Adjust(5, None, "lee", "goodwill"))
        await ledger.order(account_id, Adjust(-2 - number, None, "lee", "booked twice"))
    for account_id, charge_sequence in await ledger.waiting_requests():
        await ledger.order(account_id, DecideRefund(charge_sequence, charge_sequence % 2 == 0, "lee", "looked at it"))


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_state_after_any_decision_is_what_stood_then(seed: int, database_url: str) -> None:
    """What stood after each decision is seen where every event has a transaction of its own: batches do not show."""
    rng = random.Random(seed)
    events = [*out_of_order(random_traffic(seed, accounts=4, events=260), rng), *busy_prospects(rng, 100)]
    one_by_one = LedgerInMemory.empty()
    await play(one_by_one, events, 1)
    async with ledger_of(database_url) as batched:
        await play(batched, events, BATCH)
        assert batched.seen[-1][1] == one_by_one.seen[-1][1]
        batches = await batches_of(batched)
    stood_after: dict[tuple[str, int], Stood] = {}
    for _, seen in one_by_one.seen:
        for account_id, stood in seen.items():
            if stood.position:
                # What comes about by the clock between two decisions is not what stood after the first.
                stood_after.setdefault((account_id, stood.position), stood)
    assert len(stood_after) > 150
    last = 0
    async with long_reads(database_url) as reading:
        told_after = {at: await explained(reading, *at) for at in sorted(stood_after)}
    for (account_id, position), told in told_after.items():
        stood = stood_after[account_id, position]
        if account_id == "busy" and told != stood:
            # Which of several decisions on a prospect in one batch brought about what came late cannot be told any
            # more, but it was one of that batch, and changes stay in their order.
            same_batch = [stood_after.get((account_id, n)) for n in batches[account_id, position]]
            assert told.sequence in [other.sequence for other in same_batch if other]
            assert told.sequence >= last
        else:
            assert told == stood
        last = told.sequence if position > 1 else 0


async def batches_of(ledger: Ledger) -> dict[tuple[str, int], list[int]]:
    """The positions that were decided together with each."""
    rows = await ledger.connection.fetch(
        "SELECT account_id, array_agg(position) AS positions FROM credits.decisions_by_account"
        " GROUP BY account_id, decided_at"
    )
    return {(row["account_id"], position): row["positions"] for row in rows for position in row["positions"]}


async def test_the_state_at_any_time_is_what_stood_then(database_url: str) -> None:
    rng = random.Random(5)
    events = [*month_of_traffic(5, accounts=8, events=500), *out_of_order(random_traffic(5, events=100), rng)]
    async with ledger_of(database_url) as ledger:
        await play(ledger, events, 25)
    asked = 0
    async with long_reads(database_url) as reading:
        for (at, seen), (until, later) in zip(ledger.seen, ledger.seen[1:], strict=False):
            for account_id in rng.sample(sorted(seen), min(2, len(seen))):
                for is_full in (False, True):
                    assert await explained(reading, account_id, at, is_full=is_full) == seen[account_id]
                # The next batch is recorded at some time before it is seen.
                between = await explained(reading, account_id, at + (until - at) * rng.random())
                assert between in (seen[account_id], later[account_id])
                asked += 1
        assert asked > 60
        for account_id, stood in ledger.seen[-1][1].items():
            assert await explained(reading, account_id, None) == stood


# --- on the screen


def credits_explain(url: str, folder: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    known = {"database_url": url, "kafka_bootstrap_servers": "127.0.0.1:1", **settings}
    return run_credits("explain", *arguments, folder=folder, **known)


def assert_one_line(done: subprocess.CompletedProcess[str], exit_code: int, *words: str) -> None:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (exit_code, "", 1), done.stderr
    for word in words:
        assert word in done.stderr


AMOUNT = re.compile(r"^(?P<guides>[ │├└─]*)(?P<amount>[+-]?[\d,]+)  (?P<what>.*)$")
HEAD = re.compile(r"^\S+: (?:(?P<balance>[\d,]+) credits?|unlimited, (?P<beneath>[\d,]+) beneath)")


def assert_adds_up(screen: str, balance: int) -> None:
    """As a person would with a pocket calculator: only what is on the screen counts."""
    head, *lines = screen.splitlines()
    found = HEAD.match(head)
    assert found, head
    assert number(found["balance"] or found["beneath"]) == balance
    grants: list[tuple[int, list[int]]] = []
    for line in lines:
        if (amount := AMOUNT.match(line)) is None:
            continue
        depth = len(amount["guides"]) // 4
        if depth == 1:
            grants.append((number(amount["amount"]), []))
        else:
            assert depth == 2
            grants[-1][1].append(number(amount["amount"]))
    assert sum(remaining for remaining, _ in grants) == balance
    # What is left of grants that are not shown has no entries beneath it.
    assert [remaining for remaining, entries in grants if entries] == [sum(e) for _, e in grants if e]


def number(text: str) -> int:
    return int(text.replace(",", ""))


async def test_on_the_screen_the_sums_add_up_for_every_account_of_a_month(database_url: str, tmp_path: Path) -> None:
    events = month_of_traffic(9, accounts=5, events=420)
    many = [ProspectGenerated(account_id="many", prospect_id=f"p-{n}") for n in range(1_500)]
    began = datetime.now(UTC) - timedelta(days=2)
    bought = CreditsPurchased(account_id="many", purchase_id="b", credits=5)
    events += [
        event(PlanChanged(account_id="many", plan_id="p", monthly_credits=2_000), began),
        event(bought, began),
        *(event(data, began + timedelta(minutes=1)) for data in many),
    ]
    async with ledger_of(database_url) as ledger:
        await play(ledger, events, 700)
    for account_id, stood in ledger.seen[-1][1].items():
        done = credits_explain(database_url, tmp_path, account_id)
        assert (done.returncode, done.stderr) == (0, "")
        assert_adds_up(done.stdout, stood.balance)
        full = credits_explain(database_url, tmp_path, account_id, "--full")
        assert_adds_up(full.stdout, stood.balance)
        assert "--full" not in full.stdout
        assert len(re.findall(r" #\d+ ", full.stdout)) >= stood.sequence
    shown = credits_explain(database_url, tmp_path, "many").stdout
    assert re.search(r"-1,49\d  in 1,49\d entries between, which --full shows", shown)
    assert shown.count("\n") < 100


async def test_as_json_all_is_there_and_adds_up(database_url: str, tmp_path: Path) -> None:
    async with ledger_of(database_url) as ledger:
        await play(ledger, month_of_traffic(3, accounts=4, events=300), 50)
    for account_id, stood in ledger.seen[-1][1].items():
        done = credits_explain(database_url, tmp_path, account_id, "--output", "json")
        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert (told["held"], told["unlimited"], told["position"]) == (stood.balance, stood.unlimited, stood.position)
        assert told["balance"] == (None if stood.unlimited else stood.balance)
        assert sum(grant["remaining"] for grant in told["grants"]) == told["held"]
        sequences = set()
        for grant in [*told["grants"], *([told["without_grant"]] if told["without_grant"] else [])]:
            assert sum(entry["amount"] for entry in grant["entries"]) == grant.get("remaining", 0)
            sequences |= {entry["sequence"] for entry in grant["entries"]}
        assert sequences == set(range(1, stood.sequence + 1))
        assert len(told["declines"]) == told["declined"] == told["outcomes"].get("declined", 0)
        charged = {e["sequence"]: e for g in told["grants"] for e in g["entries"] if e["reason"] == "charge"}
        for refund in (e for g in told["grants"] for e in g["entries"] if e["reason"] == "refund"):
            charge = charged[refund["refunds"]["sequence"]]
            assert charge["refunded_by"]["sequence"] == refund["sequence"]
            assert charge["decision"]["prospect_id"] == refund["decision"]["prospect_id"]


BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)


def minute(number: int) -> datetime:
    return BEGAN + timedelta(minutes=number)


async def test_each_cause_is_named_down_to_its_place_and_key(database_url: str, tmp_path: Path) -> None:
    of: Any = {"account_id": "acme", "prospect_id": "ann"}
    events = [
        event(PlanChanged(account_id="acme", plan_id="pro", monthly_credits=2), minute(0), "e-plan"),
        event(ProspectGenerated(**of), minute(1), "e-gen"),
        event(EmailBounced(**of), minute(3), "e-bounce"),
        # It shows that the bounce was of nothing: the stay is charged anew, under the same decision.
        event(ProspectDeleted(**of), minute(2), "e-del"),
        event(ProspectGenerated(account_id="acme", prospect_id="bob"), minute(4), "e-bob"),
        event(ProspectGenerated(account_id="acme", prospect_id="cy"), minute(5), "e-cy"),
    ]
    async with ledger_of(database_url) as ledger:
        await ledger.take(records_of(events))
        await ledger.order("acme", Adjust(40, None, "lee", "goodwill"))
    done = credits_explain(database_url, tmp_path, "acme", topic_prefix="eu-")
    assert_adds_up(done.stdout, 40)
    for words in (
        "message e-gen from /campaigns, of ",
        ": eu-prospect-generated, partition 0, offset 0",
        "-1  #2 charge of ann, balance 2 -> 1",
        "given back by #3; the decision has 2 charges: #2, #4",
        "+1  #3 refund of ann, balance 1 -> 2",
        "gives back the charge #2",
        "-1  #4 charge of ann",
        "prospect-generated of cy, declined, no grant had a credit left: decline 1 of the month to ",
        "no message, by lee: goodwill at ",
    ):
        assert words in done.stdout, words


async def test_what_was_opened_and_what_people_approved_has_no_place_and_says_so(
    database_url: str, tmp_path: Path
) -> None:
    async with ledger_of(database_url) as ledger:
        opening = OpenAccount("pro", 10, None, None, BEGAN - timedelta(days=1), "UTC", 4)
        assert await ledger.order("acme", opening) == "opened"
        assert await ledger.order("acme", OpenPurchase("b-1", 7, None)) == "opened"
        assert await ledger.order("acme", OpenProspect("ann", "generated")) == "opened"
        wrong = ProspectStageChanged(account_id="acme", prospect_id="ann", stage=WRONG_EMAIL)
        await ledger.take(records_of([event(wrong, datetime.now(UTC))]))
        assert await ledger.order("acme", DecideRefund(-3, True, "kim", "the address is dead")) == "refunded"
        renewal = datetime.now(UTC) + timedelta(days=40)
        await ledger.wake([Wake("acme", renewal, 10)])
    done = credits_explain(database_url, tmp_path, "acme")
    assert_adds_up(done.stdout, ledger.seen[-1][1]["acme"].balance)
    for words in (
        "no message, by a person: brought in by `credits open` at ",
        "gives back the charge from before the ledger",
        "refund-approved of ann, refunded",
        "no message, by kim: the address is dead at ",
        "no message, by itself: a billing month began at ",
        "-4  #",
    ):
        assert words in done.stdout, words


async def test_an_unlimited_account_shows_what_lies_beneath(database_url: str, tmp_path: Path) -> None:
    events = [
        event(PlanChanged(account_id="acme", plan_id="pro", monthly_credits=3), minute(0)),
        event(PlanChanged(account_id="acme", plan_id="max", monthly_credits=None), minute(1)),
        event(ProspectGenerated(account_id="acme", prospect_id="ann"), minute(2)),
    ]
    async with ledger_of(database_url) as ledger:
        await ledger.take(records_of(events))
    done = credits_explain(database_url, tmp_path, "acme")
    assert done.stdout.startswith("acme: unlimited, 3 beneath, after 3 decisions and 3 balance changes\n")
    assert "0  on an unlimited plan" in done.stdout
    assert "+0  #3 charge of ann, balance unlimited -> unlimited" in done.stdout
    told = json.loads(credits_explain(database_url, tmp_path, "acme", "--output", "json").stdout)
    assert (told["balance"], told["held"], len(told["without_grant"]["entries"])) == (None, 3, 2)
    before = credits_explain(database_url, tmp_path, "acme", "--position", "1")
    assert before.stdout.startswith("acme: 3 credits, after 1 decision and 1 balance change\n")


async def test_an_account_without_a_plan_shows_what_waits(database_url: str, tmp_path: Path) -> None:
    waiting = [
        event(ProspectGenerated(account_id="acme", prospect_id=f"p-{n}"), minute(n), f"e-{n}") for n in range(12)
    ]
    async with ledger_of(database_url) as ledger:
        await ledger.take(records_of(waiting))
    done = credits_explain(database_url, tmp_path, "acme")
    assert (done.returncode, done.stderr) == (0, "")
    head, rest, *shown = done.stdout.splitlines()
    assert head == "acme: 0 credits; nothing was decided yet"
    assert rest.endswith("waiting for the account's first plan: 12; the first one first")
    assert "prospect-generated of p-0; message e-0 from /campaigns" in shown[0]
    assert len(shown) == 11
    assert shown[-1].endswith("2 later ones, which --full shows")
    told = json.loads(credits_explain(database_url, tmp_path, "acme", "--output", "json").stdout)
    assert [parked["prospect_id"] for parked in told["parked"]] == [f"p-{n}" for n in range(12)]


async def test_before_its_first_decision_an_account_had_nothing(database_url: str, tmp_path: Path) -> None:
    plan = event(PlanChanged(account_id="acme", plan_id="pro", monthly_credits=3), minute(0))
    async with ledger_of(database_url) as ledger:
        await ledger.take(records_of([plan]))
    # It occurred by then, but was not recorded yet.
    done = credits_explain(database_url, tmp_path, "acme", "--at", f"{minute(10):%Y-%m-%dT%H:%M:%SZ}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "acme: 0 credits, as recorded at " in done.stdout
    assert "; that is before its first decision, which was made at " in done.stdout


async def test_wrong_use_is_one_line_and_exit_code_2(database_url: str, tmp_path: Path) -> None:
    async with ledger_of(database_url) as ledger:
        await ledger.take(
            records_of([event(PlanChanged(account_id="acme", plan_id="pro", monthly_credits=3), minute(0))])
        )
    at = "2026-03-01T00:00:00Z"
    for arguments, words in (
        (["nobody"], "there is no account 'nobody'"),
        (["nobody", "--prospect", "p"], "there is no account 'nobody'"),
        (["nobody", "--event", "/s", "e"], "there is no account 'nobody'"),
        (["acme", "--at", at, "--position", "1"], "--at and --position exclude each other"),
        (["acme", "--prospect", "p", "--at", at], "--at and --prospect exclude each other"),
        (["acme", "--event", "/s", "e", "--prospect", "p"], "--prospect and --event exclude each other"),
        (["acme", "--prospect", "p", "--full"], "--full"),
        (["acme", "--position", "2"], "--position 2: the account 'acme' has no decision of this number yet"),
        (["acme", "--position", "0"], "--position"),
        (["acme", "--at", "yesterday"], "--at: 'yesterday' is no time"),
        (["acme", "--prospect", "\udcff"], "is not UTF-8"),
        (["acme", "--event", "/s", "\udcff"], "is not UTF-8"),
        (["acme", "--at", "2999-01-01T00:00:00Z"], "--at: is in the future"),
    ):
        assert_one_line(credits_explain(database_url, tmp_path, *arguments), 2, words)


async def test_the_example_of_its_help_works(database_url: str, tmp_path: Path) -> None:
    async with ledger_of(database_url) as ledger:
        await ledger.take(
            records_of([event(PlanChanged(account_id="acme", plan_id="pro", monthly_credits=3), minute(0))])
        )
    helped = credits_explain(database_url, tmp_path, "--help").stdout
    (example,) = re.findall(r"Example: credits explain (.*?) *│?\n", helped)
    done = credits_explain(database_url, tmp_path, *example.split())
    assert (done.returncode, done.stderr) == (0, ""), done


async def test_a_ledger_that_does_not_add_up_is_said_to_and_ends_with_1(database_url: str, tmp_path: Path) -> None:
    async with ledger_of(database_url) as ledger:
        await ledger.take(
            records_of([event(PlanChanged(account_id="acme", plan_id="pro", monthly_credits=3), minute(0))])
        )
        await ledger.connection.execute("ALTER TABLE credits.entries DISABLE TRIGGER append_only")
        await ledger.connection.execute("UPDATE credits.entries SET amount = 2")
    done = credits_explain(database_url, tmp_path, "acme")
    assert done.returncode == 1
    assert "The entries add up to 2, and 3 was published" in done.stderr
