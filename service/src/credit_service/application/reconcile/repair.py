"""Repairs findings of a reconciliation that an operator has agreed to. No entry is ever changed."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from credit_service import bounds
from credit_service.application.errors import RefusedByLedger
from credit_service.application.operations import Json, OperationLog, recorded
from credit_service.application.ports import WaitingEvent
from credit_service.application.processing.outbox_events import waiting
from credit_service.application.processing.processor import Processor
from credit_service.application.reconcile.findings import Finding, RepairAction
from credit_service.domain.decision import Decision


class RepairStore(Protocol):
    """Writes to the ledger without deciding events. Raises the faults of `application.errors`."""

    async def publish(self, event: WaitingEvent) -> bool:
        """Adds the event to the outbox; False if it waits there already."""

    async def recount(self, account_id: str) -> None:
        """Computes the balance, and the rest of each grant, from the entries."""

    async def restore(self, decision: Decision) -> None:
        """Writes a decision that is missing."""


@dataclass(slots=True)
class Repaired:
    """The number of repairs by kind; `refused` are the findings that the ledger refuses."""

    done: Counter[RepairAction] = field(default_factory=Counter)
    refused: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Repair:
    """Repairs findings. `processor` must not move the stored offsets."""

    store: RepairStore
    processor: Processor
    log: OperationLog

    async def run(self, findings: Sequence[Finding], operator: str, reason: str) -> Repaired:
        """Repairs all findings and records the operation; a repeated repair has no second effect.

        Raises `ValueError` on an empty or overlong text, and `LedgerUnavailable`; it may then be run again.
        """
        by_action: dict[RepairAction, list[Finding]] = {}
        for finding in findings:
            by_action.setdefault(finding.action, []).append(finding)
        # Recorded beforehand: these events may follow later ones in their topic.
        published = [finding.subject for finding in by_action.get("publish", [])]
        arguments: dict[str, Json] = {action: len(found) for action, found in by_action.items()}
        arguments["published"] = [*published]
        repaired = Repaired()
        async with recorded(self.log, "repair", operator, reason, arguments) as operation:
            try:
                await self._repair(by_action, repaired)
            finally:
                operation.result.update(dict(repaired.done.items()))
                operation.result["refused"] = len(repaired.refused)
        return repaired

    async def _repair(self, by_action: dict[RepairAction, list[Finding]], repaired: Repaired) -> None:
        # Decisions and balances first: the messages are then decided on them.
        for finding in [*by_action.get("restore", []), *by_action.get("recount", [])]:
            await self._one(finding, repaired)
        messages = [finding.record for finding in by_action.get("process", []) if finding.record is not None]
        messages.sort(key=lambda record: record.order)
        for at in range(0, len(messages), bounds.PROCESSED_AT_ONCE):
            portion = messages[at : at + bounds.PROCESSED_AT_ONCE]
            await self.processor.process(portion, asyncio.Event())
            repaired.done["process"] += len(portion)
        for finding in by_action.get("publish", []):
            await self._one(finding, repaired)

    async def _one(self, finding: Finding, repaired: Repaired) -> None:
        try:
            if finding.event is not None:
                await self.store.publish(waiting(finding.event))
            elif finding.decision is not None:
                await self.store.restore(finding.decision)
            elif finding.account_id is not None:
                await self.store.recount(finding.account_id)
        except RefusedByLedger:
            repaired.refused.append(finding)
        else:
            repaired.done[finding.action] += 1
