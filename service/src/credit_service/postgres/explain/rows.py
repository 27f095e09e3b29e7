"""Conversion of an explanation's rows to answers."""

import json
from typing import TYPE_CHECKING

from credit_service.application.explain.letters import read_letter
from credit_service.application.explain.model import (
    Beside,
    ExplainedDecision,
    ExplainedEntry,
    ExplainedParkedEvent,
    ExplainedRequest,
    Letter,
    Person,
)
from credit_service.application.explain.position import BatchChange, BatchDecision
from credit_service.application.kept_record import headers_from_json
from credit_service.application.queries import ReadPlace
from credit_service.application.record import kafka_time
from credit_service.postgres.ids import unpacked

if TYPE_CHECKING:
    import asyncpg


class RowReader:
    """Converts rows that have places in topics; `topic_prefix` is the prefix of this deployment's topics."""

    def __init__(self, topic_prefix: str) -> None:
        self._topic_prefix = topic_prefix

    def entry(self, row: "asyncpg.Record", again: dict[int, list[int]]) -> ExplainedEntry:
        """An entry with its decision; `again` has the decisions with more than one charge under them."""
        refunds = refunded_by = None
        if row["refunds_sequence"] is not None:
            refunds = Beside(sequence=row["refunds_sequence"], grant_id=row["charged_grant_id"])
        if row["refund_sequence"] is not None:
            refunded_by = Beside(sequence=row["refund_sequence"], grant_id=row["refund_grant_id"])
        return ExplainedEntry(
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
            decision=self.decision(row),
        )

    def decision(self, row: "asyncpg.Record") -> ExplainedDecision:
        """A decision, with its place and its operator."""
        place = None
        if row["partition"] is not None:
            place = self._place(row)
        return ExplainedDecision(
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
            by=person_of(row),
        )

    def parked(self, row: "asyncpg.Record") -> ExplainedParkedEvent:
        """A parked event."""
        return ExplainedParkedEvent(
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


def batch_decision(row: "asyncpg.Record") -> BatchDecision:
    """A decision of a batch."""
    return BatchDecision(row["position"], row["type"], row["outcome"], row["occurred_at"], row["prospect_id"])


def batch_change(row: "asyncpg.Record") -> BatchChange:
    """A balance change of a batch."""
    cause = BatchDecision(row["position"], row["type"], row["outcome"], row["cause_occurred_at"], row["prospect_id"])
    return BatchChange(row["sequence"], row["reason"], row["occurred_at"], cause)


def person_of(row: "asyncpg.Record") -> Person | None:
    """The operator who ordered it, if there is one."""
    if row.get("operator") is None:
        return None
    return Person(operator=row["operator"], reason=row["why"] or "")


def request_of(row: "asyncpg.Record") -> ExplainedRequest:
    """A refund request."""
    return ExplainedRequest(
        charge_sequence=row["charge_sequence"],
        position=row["position"],
        status=row["status"],
        requested_at=row["requested_at"],
        decided_position=row["decided_position"],
        decided_at=row["decided_at"],
        by=person_of(row),
    )


def letter_of(row: "asyncpg.Record") -> Letter:
    """A dead letter, with its readable parts."""
    headers = headers_from_json(row["headers"])
    read = read_letter(headers, row["value"])
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
        occurred_at=read.occurred_at or kafka_time(row["timestamp_ms"]),
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        by=person_of(row),
    )
