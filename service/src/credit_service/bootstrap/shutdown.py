"""The end of the service: its parts stop one after the other, each within its share of the time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from credit_service.bootstrap.serve import Service

log = structlog.get_logger(__name__)


async def end(service: Service, tasks: list[asyncio.Task[None]], budget_seconds: float) -> None:
    """Finishes the batch, leaves the group and publishes the outgoing events, all within the budget."""
    intake, relay = tasks
    log.info("ending, the current batch is finished")
    service.intake.stop()
    if not await _ends_within(intake, budget_seconds * 0.4):
        service.intake.abandon()
        await _ends_within(intake, budget_seconds * 0.1)
    service.relay.stop()
    # At the same time: other members read this member's partitions, while it publishes its own events.
    leaving = asyncio.create_task(service.intake.leave())
    await _ends_within(relay, budget_seconds * 0.25)
    # The last tenth is for HTTP requests that are being answered.
    if not await _ends_within(leaving, budget_seconds * 0.15):
        leaving.cancel()


async def _ends_within(task: asyncio.Task[None], seconds: float) -> bool:
    done, _ = await asyncio.wait({task}, timeout=seconds)
    for ended in done:
        if not ended.cancelled() and (error := ended.exception()):
            log.error("a part ended with an error", cause=type(error).__name__, exc_info=error)
    return bool(done)
