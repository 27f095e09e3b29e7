"""Compares the topics, the decisions, the ledger and the published events."""

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from credit_service.cli.reconcile.repairs import repair_findings
from credit_service.cli.shared.connections import kafka_of, reading_pool, writing_pool
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.progress import progress

if TYPE_CHECKING:
    from credit_service.application.ports import Positions, Skipped
    from credit_service.application.reconcile.findings import Findings
    from credit_service.cli.reconcile.report import FindingsReport
    from credit_service.kafka.connect.connection import KafkaConnection
    from credit_service.postgres.pool import Pool
    from credit_service.settings import Settings

EXIT_DIFFERENCES = 1
EXIT_COULD_NOT_TELL = 2


class ComparedRange(NamedTuple):
    """The part of the topics to compare; None: no bound."""

    begin: datetime | int | None
    until: datetime | int | None
    account_id: str | None


class RepairOrder(NamedTuple):
    """Who orders a repair, why, and whether to skip the confirmation."""

    operator: str
    reason: str
    yes: bool


async def compare(
    settings: "Settings", scope: ComparedRange, report: "FindingsReport", order: RepairOrder | None
) -> int:
    """Compares everything in the scope, and repairs if ordered; returns the exit code."""
    from credit_service.application.reconcile.findings import Findings
    from credit_service.application.reconcile.reconcile import Reconciliation
    from credit_service.bootstrap.garbage_collection import collect_seldom
    from credit_service.kafka.ranges.audit_topics import open_topics
    from credit_service.kafka.ranges.ranges import RangeStalled, TopicsUnknown
    from credit_service.kafka.ranges.unpack import BatchInFile
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.reads.queries import PostgresReads
    from credit_service.postgres.reconcile.audit import open_audit

    collect_seldom()
    kafka = kafka_of(settings)
    begin, until, account_id = scope
    findings = Findings(report.finding)
    # A repair reads from the database that it writes to.
    addresses = Addresses.of(settings)
    address = addresses.reader if order is None else addresses.service
    async with (reading_pool if order is None else writing_pool)(settings) as pool:
        if account_id is not None and await PostgresReads(pool).account(account_id) is None:
            raise WrongUse(f"there is no account {account_id!r}")
        # The offsets are read before the snapshot: whatever precedes them is decided in the snapshot.
        stored, skipped = await _offsets(kafka, pool, findings)
        try:
            async with (
                open_topics(kafka, stored, skipped, begin, until) as topics,
                open_audit(address, settings.topic_prefix) as audit,
            ):
                # Comparing the published events takes about as long as comparing the messages.
                with progress("Messages compared", 2 * topics.messages) as bar:
                    reconciliation = Reconciliation(
                        audit,
                        topics,
                        settings.rules,
                        findings,
                        BatchInFile(kafka.event_type),
                        account_id=account_id,
                        start=begin if isinstance(begin, datetime) else None,
                        end=until if isinstance(until, datetime) else None,
                        is_window=begin is not None or until is not None,
                        count_read=bar.advance,
                    )
                    await reconciliation.run()
        except TopicsUnknown as error:
            raise CommandFailed(f"topics are missing: {error}; run `credits topics create`") from None
        except RangeStalled as error:
            findings.could_not_tell(str(error))
        report.sum_up(reconciliation.compared, findings)
        is_repaired = False
        if order is not None and findings.repairable:
            is_repaired = await repair_findings(settings, findings, *order)
    if findings.counts and not is_repaired:
        return EXIT_DIFFERENCES
    return EXIT_COULD_NOT_TELL if findings.unknown else 0


async def _offsets(kafka: "KafkaConnection", pool: "Pool", findings: "Findings") -> "tuple[Positions, Skipped]":
    """The stored offsets and the skipped gaps of the incoming topics."""
    from credit_service.kafka.access.topic_ids import of_topics_gone
    from credit_service.kafka.topics import partition_counts
    from credit_service.postgres.ledger.offsets import PostgresOffsetStore

    counts = await partition_counts(kafka, kafka.incoming_topics, "read")
    partitions = [(topic, at) for topic in kafka.incoming_topics for at in range(counts.get(topic, 0))]
    offsets = PostgresOffsetStore(pool)
    stored = await offsets.load(partitions)
    skipped = await offsets.skipped(kafka.incoming_topics)
    for gone in sorted(await of_topics_gone(kafka, offsets, partitions)):
        # The stored offset belongs to the deleted topic: no message of the new topic was decided.
        stored.pop(gone, None)
        findings.could_not_tell(f"{gone[0]}/{gone[1]}: the topic was recreated, and no service has read it yet")
    return stored, skipped
