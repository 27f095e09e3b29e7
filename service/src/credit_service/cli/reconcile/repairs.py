"""Repairs what `credits reconcile` has found, after confirmation."""

from collections import Counter
from typing import TYPE_CHECKING

from credit_service.cli.shared.connections import opened_ledger
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.operator_options import confirm
from credit_service.cli.shared.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from credit_service.application.reconcile.findings import Findings, RepairAction
    from credit_service.application.reconcile.repair import Repaired
    from credit_service.settings import Settings

EFFECTS = {
    "process": "messages are decided",
    "publish": "events are published, under their old ids",
    "recount": "balances are recomputed from their entries",
    "restore": "decisions are written again, as the rules and the entries prove them",
}


async def run_alone(settings: "Settings", work: "Callable[[], Coroutine[None, None, int]]") -> int:
    """Runs the work unless another repair is running."""
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.reconcile.repair import exclusive_repair

    async with exclusive_repair(Addresses.of(settings).service) as is_alone:
        if not is_alone:
            raise CommandFailed("another repair runs: try again once it has ended")
        return await work()


async def repair_findings(settings: "Settings", findings: "Findings", operator: str, reason: str, yes: bool) -> bool:
    """Asks for confirmation and repairs; returns whether nothing is left for a person."""
    from credit_service.application.processing.processor import Processor
    from credit_service.application.reconcile.repair import Repair
    from credit_service.postgres.reconcile.repair import PostgresRepairStore

    say("To be repaired:")
    _show(Counter(finding.action for finding in findings.repairable))
    confirm("Repair this?", yes=yes)
    async with opened_ledger(settings) as into:
        processor = Processor(into.ledger, into.rules, moves_offsets=False)
        repair = Repair(PostgresRepairStore(into.pool), processor, into.operations)
        try:
            repaired = await repair.run(findings.repairable, operator, reason)
        except ValueError as error:
            raise WrongUse(f"--{error}") from None
    return _report(repaired, findings)


def _show(repairs: "Counter[RepairAction]") -> None:
    for kind, count in repairs.items():
        say(f"{count:>8,}  {EFFECTS[kind]}")


def _report(repaired: "Repaired", findings: "Findings") -> bool:
    _show(repaired.done)
    for finding in repaired.refused:
        say(f"The database refuses this repair: {finding.subject}")
    left = findings.counts.total() - repaired.done.total()
    if left:
        say(f"{left:,} are left for a person.")
    say("Run `credits reconcile` again to see that all agrees.")
    return left == 0
