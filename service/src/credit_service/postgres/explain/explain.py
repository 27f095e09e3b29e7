"""Explanations of a balance from Postgres, each of any length and from one snapshot."""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from credit_service.application.explain.model import (
    Elided,
    ExplainedDecision,
    ExplainedEntry,
    ExplainedGrant,
    ExplainedParkedEvent,
    Explanation,
    GrantsElided,
    MessageOutcome,
    ProspectHistory,
    Sum,
    Summary,
    Unexplained,
    When,
    WithoutGrant,
)
from credit_service.postgres.explain.as_of import PointInTime, point_in_time
from credit_service.postgres.explain.outcomes import OutcomeReader
from credit_service.postgres.explain.rows import RowReader
from credit_service.postgres.explain.snapshot import SnapshotReader
from credit_service.postgres.instants import with_zone
from credit_service.postgres.reads.export import blocks, snapshot

if TYPE_CHECKING:
    import asyncpg

GRANTS_SHOWN_MAX = 10
SPENT_GRANTS_SHOWN_MAX = 2
LAST_ENTRIES_SHOWN_MAX = 9
DECLINES_SHOWN_MAX = 10
PARKED_SHOWN_MAX = 10


class PostgresExplains:
    """The application's `Explains` on a connection of `long_reads`; `topic_prefix` is the deployment's."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", topic_prefix: str) -> None:
        self._snapshot = SnapshotReader(connection)
        self._rows = RowReader(topic_prefix)

    @asynccontextmanager
    async def account(self, account_id: str, when: When, *, is_full: bool) -> AsyncIterator[Explanation | Unexplained]:
        """See `application.explain.model.Explains`."""
        async with snapshot(self._snapshot.connection):
            account = await self._snapshot.one("explain_account", account_id)
            if account is None:
                yield "unknown-account"
                return
            point = await point_in_time(self._snapshot, account, when)
            if not isinstance(point, PointInTime):
                yield point
                return
            sums = await self._snapshot.all("explain_sums", point.account_no, point.sequence)
            summary = await self._summary(account, point, when, sums, is_full=is_full)
            entries = self._all_entries(point) if is_full else self._some_entries(point, summary, sums)
            declines = self._declines(point, None if is_full else DECLINES_SHOWN_MAX)
            parked = self._parked(point, None if is_full else PARKED_SHOWN_MAX)
            async with aclosing(entries), aclosing(declines), aclosing(parked):
                yield Explanation(summary, entries, declines, parked)

    async def prospect_history(self, account_id: str, prospect_id: str) -> ProspectHistory | None:
        """See `application.explain.model.Explains`."""
        async with snapshot(self._snapshot.connection):
            return await OutcomeReader(self._snapshot, self._rows).prospect_history(account_id, prospect_id)

    async def message_outcome(self, account_id: str, source: str, event_id: str) -> MessageOutcome | None:
        """See `application.explain.model.Explains`."""
        async with snapshot(self._snapshot.connection):
            return await OutcomeReader(self._snapshot, self._rows).message_outcome(account_id, source, event_id)

    async def _summary(
        self,
        account: "asyncpg.Record",
        point: PointInTime,
        when: When,
        sums: "Sequence[asyncpg.Record]",
        *,
        is_full: bool,
    ) -> Summary:
        number = point.account_no
        by_grant: dict[int | None, list[Sum]] = defaultdict(list)
        for row in sums:
            total = Sum(reason=row["reason"], entries=row["entries"], amount=row["amount"])
            by_grant[row["grant_id"]].append(total)
        remaining = {
            grant_id: sum(total.amount for total in by_grant[grant_id]) for grant_id in by_grant if grant_id is not None
        }
        shown = sorted(remaining) if is_full else _shown_grants(remaining)
        rows = await self._snapshot.all("explain_grants", number, shown)
        published = await self._snapshot.value("explain_balance", number, point.sequence) if point.sequence else 0
        held = sum(remaining.values())
        outcomes = await self._snapshot.all("explain_outcomes", number, point.position)
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
            parked=await self._snapshot.value("explain_parked_count", number, point.parked_by),
            grants=[_grant(row, remaining[row["grant_id"]], by_grant[row["grant_id"]]) for row in rows],
            grants_elided=GrantsElided(grants=left_out, remaining=held - sum(remaining[g] for g in shown))
            if left_out
            else None,
            without_grant=WithoutGrant(sums=by_grant[None]) if None in by_grant else None,
        )

    async def _some_entries(
        self, point: PointInTime, summary: Summary, sums: "Sequence[asyncpg.Record]"
    ) -> AsyncGenerator[ExplainedEntry | Elided]:
        """The first and the last entries of each grant, with one sum of the entries between them."""
        wanted: list[int | None] = [grant.grant_id for grant in summary.grants]
        wanted += [None] if summary.without_grant else []
        of = {grant_id: [row for row in sums if row["grant_id"] == grant_id] for grant_id in wanted}
        first = [min(row["first"] for row in of[grant_id]) for grant_id in wanted]
        last = [max(row["last"] for row in of[grant_id]) for grant_id in wanted]
        arguments = (point.account_no, point.sequence, wanted, first, last, LAST_ENTRIES_SHOWN_MAX)
        rows = await self._snapshot.all("explain_selected_entries", *arguments)
        again = await self._repeated_charges(point, [row["position"] for row in rows if row["reason"] == "charge"])
        for grant_id in wanted:
            entries = [self._rows.entry(row, again) for row in rows if row["grant_id"] == grant_id]
            count = sum(row["entries"] for row in of[grant_id]) - len(entries)
            amount = sum(row["amount"] for row in of[grant_id]) - sum(entry.amount for entry in entries)
            yield entries[0]
            if count:
                yield Elided(grant_id=grant_id, entries=count, amount=amount)
            for entry in entries[1:]:
                yield entry

    async def _all_entries(self, point: PointInTime) -> AsyncGenerator[ExplainedEntry | Elided]:
        again = await self._repeated_charges(point, None)
        async with aclosing(
            blocks(self._snapshot.connection, "explain_all_entries", point.account_no, point.sequence)
        ) as found:
            async for block in found:
                for row in block:
                    yield self._rows.entry(row, again)

    async def _repeated_charges(self, point: PointInTime, positions: list[int] | None) -> dict[int, list[int]]:
        rows = await self._snapshot.all("explain_repeated_charges", point.account_no, point.sequence, positions)
        return {row["position"]: row["sequences"] for row in rows}

    async def _declines(self, point: PointInTime, limit: int | None) -> AsyncGenerator[ExplainedDecision]:
        arguments = (point.account_no, point.position, limit)
        async with aclosing(blocks(self._snapshot.connection, "explain_declines", *arguments)) as found:
            async for block in found:
                for row in block:
                    yield self._rows.decision(row)

    async def _parked(self, point: PointInTime, limit: int | None) -> AsyncGenerator[ExplainedParkedEvent]:
        arguments = (point.account_no, point.parked_by, limit)
        async with aclosing(blocks(self._snapshot.connection, "explain_parked_events", *arguments)) as found:
            async for block in found:
                for row in block:
                    yield self._rows.parked(row)


def _grant(row: "asyncpg.Record", remaining: int, sums: list[Sum]) -> ExplainedGrant:
    return ExplainedGrant(
        **dict(row) | {"expires_at": with_zone(row["expires_at"]), "remaining": remaining, "sums": sums}
    )


def _shown_grants(remaining: dict[int, int]) -> list[int]:
    """The newest grants with credits left, and the newest spent ones."""
    newest = sorted(remaining, reverse=True)
    left = [grant_id for grant_id in newest if remaining[grant_id]]
    spent = [grant_id for grant_id in newest if not remaining[grant_id]]
    return sorted(left[:GRANTS_SHOWN_MAX] + spent[:SPENT_GRANTS_SHOWN_MAX])
