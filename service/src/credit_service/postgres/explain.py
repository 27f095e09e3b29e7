"""Why a balance is what it is, or was, out of Postgres: each answer is one snapshot, whatever its length."""

import base64
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from credit_service.application.explain import (
    Beside,
    Caused,
    Charge,
    Decision,
    Elided,
    Entry,
    Explanation,
    Fate,
    Grant,
    GrantsElided,
    Letter,
    Letters,
    Parked,
    Person,
    RefundRequest,
    Standing,
    Story,
    Sum,
    Summary,
    Unexplained,
    When,
    WithoutGrant,
)
from credit_service.application.explain_letters import names_prospect, read_letter
from credit_service.application.explain_position import BatchChange, BatchDecision, last_sequence
from credit_service.application.read import ReadPlace
from credit_service.domain.idempotency import key_of
from credit_service.domain.prospect import stays_of
from credit_service.postgres.export import BLOCK_SECONDS_MAX, blocks, snapshot
from credit_service.postgres.ids import packed, unpacked
from credit_service.postgres.pool import faults_named
from credit_service.postgres.statements import sql
from credit_service.postgres.story import from_columns, told_by

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

GRANTS_SHOWN_MAX = 10
SPENT_GRANTS_SHOWN_MAX = 2
LAST_ENTRIES_SHOWN_MAX = 9
DECLINES_SHOWN_MAX = 10
PARKED_SHOWN_MAX = 10
DECISIONS_OF_A_PROSPECT_MAX = 1_000
ENTRIES_OF_DECISIONS_MAX = 10_000
LETTERS_LOOKED_THROUGH_MAX = 10_000
LETTERS_PER_BLOCK = 20
TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Point:
    """What had been decided and recorded, and until when events had been parked."""

    account_no: int
    position: int
    sequence: int
    parked_by: datetime


class PostgresExplains:
    """The application's `Explains` on a connection of `long_reads`; `topic_prefix` is the deployment's."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", topic_prefix: str) -> None:
        self._connection = connection
        self._topic_prefix = topic_prefix

    @asynccontextmanager
    async def account(self, account_id: str, when: When, *, is_full: bool) -> AsyncIterator[Explanation | Unexplained]:
        """See `application.explain.Explains`."""
        async with snapshot(self._connection):
            account = await self._one("explain_account", account_id)
            if account is None:
                yield "unknown-account"
                return
            point = await self._point(account, when)
            if not isinstance(point, _Point):
                yield point
                return
            sums = await self._all("explain_sums", point.account_no, point.sequence)
            summary = await self._summary(account, point, when, sums, is_full=is_full)
            entries = self._all_entries(point) if is_full else self._some_entries(point, summary, sums)
            declines = self._declines(point, None if is_full else DECLINES_SHOWN_MAX)
            parked = self._parked(point, None if is_full else PARKED_SHOWN_MAX)
            async with aclosing(entries), aclosing(declines), aclosing(parked):
                yield Explanation(summary, entries, declines, parked)

    async def story(self, account_id: str, prospect_id: str) -> Story | None:
        """See `application.explain.Explains`."""
        async with snapshot(self._connection):
            account = await self._one("explain_account", account_id)
            letters = await self._letters(account_id, lambda row, _: names_prospect(row["value"], prospect_id))
            if account is None:
                if not letters.letters and not letters.erased:
                    return None
                return Story(
                    account_id=account_id,
                    prospect_id=prospect_id,
                    standing=None,
                    decisions=[],
                    parked=[],
                    dead_letters=letters,
                    is_complete=True,
                )
            number = account["account_no"]
            rows = await self._all(
                "explain_prospect_decisions", number, packed(prospect_id), DECISIONS_OF_A_PROSPECT_MAX + 1
            )
            decisions = [self._decision(row) for row in rows[:DECISIONS_OF_A_PROSPECT_MAX]]
            caused = await self._caused(number, account["sequence"], decisions)
            parked = self._parked(_Point(number, 0, 0, account["now"]), None)
            return Story(
                account_id=account_id,
                prospect_id=prospect_id,
                standing=await self._standing(number, prospect_id),
                decisions=sorted(caused, key=lambda c: (c.decision.occurred_at, c.decision.position)),
                parked=[event async for event in parked if event.prospect_id == prospect_id],
                dead_letters=letters,
                is_complete=len(rows) <= DECISIONS_OF_A_PROSPECT_MAX,
            )

    async def fate(self, account_id: str, source: str, event_id: str) -> Fate | None:
        """See `application.explain.Explains`."""
        async with snapshot(self._connection):
            account = await self._one("explain_account", account_id)
            letters = await self._letters(
                account_id, lambda _, letter: (letter.source, letter.id) == (source, event_id)
            )
            key = key_of(source, event_id)
            decided = parked = None
            if account is not None:
                number = account["account_no"]
                if (row := await self._one("explain_decision", number, key)) is not None:
                    (decided,) = await self._caused(number, account["sequence"], [self._decision(row)])
                if (row := await self._one("explain_parked_event", number, key)) is not None:
                    parked = self._parked_event(row)
            elif not letters.letters and not letters.erased:
                return None
            is_seen = decided or parked or letters.letters
            return Fate(
                account_id=account_id,
                source=source,
                id=event_id,
                status="decided" if decided else "parked" if parked else "dead-letter" if is_seen else "never-seen",
                decided=decided,
                parked=parked,
                dead_letters=letters,
                other_account_id=None if is_seen else await self._value("explain_elsewhere", key),
            )

    async def _point(self, account: "asyncpg.Record", when: When) -> "_Point | Unexplained":
        number, position, sequence = account["account_no"], account["position"], account["sequence"]
        if when is None:
            return _Point(number, position, sequence, account["now"])
        if isinstance(when, datetime):
            if when > account["now"]:
                return "in-the-future"
            position = await self._value("explain_position_at", number, position, when)
            return _Point(number, position, await self._value("explain_sequence_at", number, sequence, when), when)
        if not 1 <= when <= position:
            return "position-beyond"
        (decision,) = await self._all("explain_batch_decisions", number, when, when)
        at = decision["decided_at"]
        first, last = [await self._value("explain_position_at", number, position, until) for until in (at - TICK, at)]
        before, until = [await self._value("explain_sequence_at", number, sequence, until) for until in (at - TICK, at)]
        decisions = await self._all("explain_batch_decisions", number, first + 1, last)
        changes = await self._all("explain_batch_changes", number, before + 1, until)
        by_then = last_sequence([_of_batch(row) for row in decisions], [_change(row) for row in changes], when, before)
        return _Point(number, when, by_then, at)

    async def _summary(
        self,
        account: "asyncpg.Record",
        point: _Point,
        when: When,
        sums: "Sequence[asyncpg.Record]",
        *,
        is_full: bool,
    ) -> Summary:
        number = point.account_no
        by_grant: dict[int | None, list[Sum]] = defaultdict(list)
        for row in sums:
            told = Sum(reason=row["reason"], entries=row["entries"], amount=row["amount"])
            by_grant[row["grant_id"]].append(told)
        remaining = {
            grant_id: sum(told.amount for told in by_grant[grant_id]) for grant_id in by_grant if grant_id is not None
        }
        shown = sorted(remaining) if is_full else _worth_showing(remaining)
        rows = await self._all("explain_grants", number, shown)
        published = await self._value("explain_balance", number, point.sequence) if point.sequence else 0
        held = sum(remaining.values())
        outcomes = await self._all("explain_outcomes", number, point.position)
        left_out = len(remaining) - len(shown)
        return Summary(
            account_id=account["account_id"],
            position=point.position,
            sequence=point.sequence,
            at=when if isinstance(when, datetime) else None,
            first_decided_at=account["first_decided_at"],
            balance=published,
            unlimited=published is None,
            held=held,
            outcomes={row["outcome"]: row["decisions"] for row in outcomes},
            parked=await self._value("explain_parked_count", number, point.parked_by),
            grants=[Grant(**row, remaining=remaining[row["grant_id"]], sums=by_grant[row["grant_id"]]) for row in rows],
            grants_elided=GrantsElided(grants=left_out, remaining=held - sum(remaining[g] for g in shown))
            if left_out
            else None,
            without_grant=WithoutGrant(sums=by_grant[None]) if None in by_grant else None,
        )

    async def _some_entries(
        self, point: _Point, summary: Summary, sums: "Sequence[asyncpg.Record]"
    ) -> AsyncGenerator[Entry | Elided]:
        """Of each grant the first and the last, with what is between them in one sum."""
        wanted: list[int | None] = [grant.grant_id for grant in summary.grants]
        wanted += [None] if summary.without_grant else []
        of = {grant_id: [row for row in sums if row["grant_id"] == grant_id] for grant_id in wanted}
        first = [min(row["first"] for row in of[grant_id]) for grant_id in wanted]
        last = [max(row["last"] for row in of[grant_id]) for grant_id in wanted]
        asked = (point.account_no, point.sequence, wanted, first, last, LAST_ENTRIES_SHOWN_MAX)
        rows = await self._all("explain_some_entries", *asked)
        again = await self._charged_again(point, [row["position"] for row in rows if row["reason"] == "charge"])
        for grant_id in wanted:
            entries = [self._entry(row, again) for row in rows if row["grant_id"] == grant_id]
            count = sum(row["entries"] for row in of[grant_id]) - len(entries)
            amount = sum(row["amount"] for row in of[grant_id]) - sum(entry.amount for entry in entries)
            yield entries[0]
            if count:
                yield Elided(grant_id=grant_id, entries=count, amount=amount)
            for entry in entries[1:]:
                yield entry

    async def _all_entries(self, point: _Point) -> AsyncGenerator[Entry | Elided]:
        again = await self._charged_again(point, None)
        async with aclosing(blocks(self._connection, "explain_all_entries", point.account_no, point.sequence)) as found:
            async for block in found:
                for row in block:
                    yield self._entry(row, again)

    async def _charged_again(self, point: _Point, positions: list[int] | None) -> dict[int, list[int]]:
        rows = await self._all("explain_charges_again", point.account_no, point.sequence, positions)
        return {row["position"]: row["sequences"] for row in rows}

    async def _declines(self, point: _Point, limit: int | None) -> AsyncGenerator[Decision]:
        asked = (point.account_no, point.position, limit)
        async with aclosing(blocks(self._connection, "explain_declines", *asked)) as found:
            async for block in found:
                for row in block:
                    yield self._decision(row)

    async def _parked(self, point: _Point, limit: int | None) -> AsyncGenerator[Parked]:
        asked = (point.account_no, point.parked_by, limit)
        async with aclosing(blocks(self._connection, "explain_parked", *asked)) as found:
            async for block in found:
                for row in block:
                    yield self._parked_event(row)

    async def _caused(self, number: int, sequence: int, decisions: Sequence[Decision]) -> list[Caused]:
        if not decisions:
            return []
        positions = [decision.position for decision in decisions]
        # What a decision causes is recorded with it, or later.
        since = min(decision.decided_at for decision in decisions) - TICK
        first = await self._value("explain_sequence_at", number, sequence, since) + 1
        asked = (number, sequence, positions, first, ENTRIES_OF_DECISIONS_MAX)
        rows = await self._all("explain_entries_of", *asked)
        charges: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            if row["reason"] == "charge":
                charges[row["position"]].append(row["sequence"])
        again = {position: sequences for position, sequences in charges.items() if len(sequences) > 1}
        entries: dict[int, list[Entry]] = defaultdict(list)
        for row in rows:
            entries[row["position"]].append(self._entry(row, again))
        requests = {row["position"]: _request(row) for row in await self._all("explain_requests", number, positions)}
        return [Caused(decision=d, entries=entries[d.position], request=requests.get(d.position)) for d in decisions]

    async def _standing(self, number: int, prospect_id: str) -> Standing | None:
        rows = await self._all("load_prospects", [number], [packed(prospect_id)])
        if not rows:
            return None
        told = []
        for row in rows:
            _, *columns, position, source, event_id, event_type, occurred_at, note = row
            if position is not None:
                told.append(told_by(position, source, unpacked(event_id), event_type, occurred_at, note, prospect_id))
        prospect = from_columns(prospect_id, told, *columns)
        stays = stays_of(told)
        if not stays:
            return Standing(on_account=False, origin=None, charge=None)
        stay = stays[-1]
        found = prospect.charge_of(stay)
        charge = None
        if found is not None:
            is_refunded = found.refund_sequence is not None
            charge = Charge(
                sequence=found.sequence,
                status="refunded" if is_refunded else "forfeited" if found.is_settled else "alive",
                refund_sequence=found.refund_sequence,
            )
        return Standing(on_account=stay.ended_by is None, origin=stay.origin, charge=charge)

    async def _letters(self, account_id: str, is_meant: "Callable[[asyncpg.Record, Letter], bool]") -> Letters:
        """The account's dead letters that are meant; all are looked through, and few are held at a time."""
        letters, erased, seen = [], 0, 0
        asked = (account_id, LETTERS_LOOKED_THROUGH_MAX + 1)
        found = blocks(self._connection, "explain_letters", *asked, rows=LETTERS_PER_BLOCK)
        async with aclosing(found):
            async for block in found:
                for row in block:
                    seen += 1
                    erased += row["is_erased"]
                    letter = _letter(row)
                    if is_meant(row, letter):
                        letters.append(letter)
        return Letters(letters=letters, erased=erased, is_complete=seen <= LETTERS_LOOKED_THROUGH_MAX)

    def _entry(self, row: "asyncpg.Record", again: dict[int, list[int]]) -> Entry:
        refunds = refunded_by = None
        if row["refunds_sequence"] is not None:
            refunds = Beside(sequence=row["refunds_sequence"], grant_id=row["charged_grant_id"])
        if row["refund_sequence"] is not None:
            refunded_by = Beside(sequence=row["refund_sequence"], grant_id=row["refund_grant_id"])
        return Entry(
            sequence=row["sequence"],
            line=row["line"],
            grant_id=row["grant_id"],
            reason=row["reason"],
            amount=row["amount"],
            previous_balance=row["previous_balance"],
            balance=row["balance"],
            occurred_at=row["entry_occurred_at"],
            recorded_at=row["recorded_at"],
            refunds=refunds,
            refunded_by=refunded_by,
            charges=again.get(row["position"], []) if row["reason"] == "charge" else [],
            decision=self._decision(row),
        )

    def _decision(self, row: "asyncpg.Record") -> Decision:
        place = None
        if row["partition"] is not None:
            place = self._place(row)
        return Decision(
            position=row["position"],
            type=row["type"],
            outcome=row["outcome"],
            source=row["source"],
            id=unpacked(row["id"]),
            prospect_id=None if row["prospect_id"] is None else unpacked(row["prospect_id"]),
            occurred_at=row["occurred_at"],
            decided_at=row["decided_at"],
            declined_in_period=row["declined_in_period"],
            period_ends_at=row["period_ends_at"],
            note=row["note"],
            place=place,
            by=_person(row),
        )

    def _parked_event(self, row: "asyncpg.Record") -> Parked:
        return Parked(
            source=row["source"],
            id=row["id"],
            type=row["type"],
            prospect_id=json.loads(row["data"]).get("prospect_id"),
            occurred_at=row["occurred_at"],
            parked_at=row["parked_at"],
            place=self._place(row),
        )

    def _place(self, row: "asyncpg.Record") -> ReadPlace:
        topic = self._topic_prefix + row["type"]
        return ReadPlace(topic=topic, partition=row["partition"], offset=row["offset"])

    async def _one(self, statement: str, *arguments: object) -> "asyncpg.Record | None":
        with faults_named():
            return await self._connection.fetchrow(sql(statement), *arguments, timeout=BLOCK_SECONDS_MAX)

    async def _all(self, statement: str, *arguments: object) -> "list[asyncpg.Record]":
        with faults_named():
            rows: list[asyncpg.Record] = await self._connection.fetch(
                sql(statement), *arguments, timeout=BLOCK_SECONDS_MAX
            )
        return rows

    async def _value(self, statement: str, *arguments: object) -> Any:
        with faults_named():
            return await self._connection.fetchval(sql(statement), *arguments, timeout=BLOCK_SECONDS_MAX)


def _worth_showing(remaining: dict[int, int]) -> list[int]:
    """The newest grants that have something left, and the newest that have not."""
    newest = sorted(remaining, reverse=True)
    left = [grant_id for grant_id in newest if remaining[grant_id]]
    spent = [grant_id for grant_id in newest if not remaining[grant_id]]
    return sorted(left[:GRANTS_SHOWN_MAX] + spent[:SPENT_GRANTS_SHOWN_MAX])


def _of_batch(row: "asyncpg.Record") -> BatchDecision:
    return BatchDecision(row["position"], row["type"], row["outcome"], row["occurred_at"], row["prospect_id"])


def _change(row: "asyncpg.Record") -> BatchChange:
    cause = BatchDecision(row["position"], row["type"], row["outcome"], row["cause_occurred_at"], row["prospect_id"])
    return BatchChange(row["sequence"], row["reason"], row["occurred_at"], cause)


def _person(row: "asyncpg.Record") -> Person | None:
    if row.get("operator") is None:
        return None
    return Person(operator=row["operator"], reason=row["why"] or "")


def _request(row: "asyncpg.Record") -> RefundRequest:
    return RefundRequest(
        charge_sequence=row["charge_sequence"],
        position=row["position"],
        status=row["status"],
        requested_at=row["requested_at"],
        decided_position=row["decided_position"],
        decided_at=row["decided_at"],
        by=_person(row),
    )


def _letter(row: "asyncpg.Record") -> Letter:
    headers = [(name, None if value is None else base64.b64decode(value)) for name, value in json.loads(row["headers"])]
    read = read_letter(headers, row["value"])
    sent_at = datetime.fromtimestamp(max(0, row["timestamp_ms"]) / 1_000, UTC)
    return Letter(
        dead_letter_id=row["dead_letter_id"],
        reason=row["reason"],
        detail=row["detail"],
        status=row["status"],
        outcome=row["outcome"],
        place=ReadPlace(topic=row["topic"], partition=row["partition"], offset=row["offset"]),
        source=read.source,
        id=read.id,
        type=read.type,
        occurred_at=read.occurred_at or sent_at,
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        by=_person(row),
    )
