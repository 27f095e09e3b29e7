"""Runs a replay: reads the ranges again, and decides what was never decided."""

import signal
from typing import TYPE_CHECKING

from credit_service.cli.replay.report import ReplayReport, replay_progress
from credit_service.cli.shared.connections import kafka_of, opened_ledger
from credit_service.cli.shared.errors import CommandFailed
from credit_service.cli.shared.server_errors import describe_ledger_error

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from credit_service.application.operations import Json
    from credit_service.application.replay.replay import Replayed, ReplayOptions
    from credit_service.kafka.ranges.ranges import Range
    from credit_service.settings import Settings

SAFE = "it may safely be run again"


async def run_replay(
    settings: "Settings",
    ranges: "Sequence[Range]",
    wanted: "ReplayOptions",
    person: tuple[str, str],
    arguments: "dict[str, Json]",
    report: ReplayReport,
    replayed: "Replayed",
) -> None:
    """Replays the ranges; counts are added to `replayed`, also of a replay that an error ends."""
    from aiokafka.errors import KafkaError

    from credit_service.application.errors import LedgerUnavailable
    from credit_service.application.processing.processor import Processor
    from credit_service.application.replay.replay import Replay
    from credit_service.application.temporary_files import NoTemporaryRoom
    from credit_service.bootstrap.garbage_collection import collect_seldom
    from credit_service.kafka.ranges.ranges import RangeStalled
    from credit_service.kafka.ranges.replay_source import open_records
    from credit_service.postgres.reads.lookup import PostgresLookup
    from credit_service.runtime.failpoints import failpoint
    from credit_service.runtime.logging import configure_logging

    # Retried and refused messages are counted; their log lines would mix with the data.
    configure_logging(settings.log_format, "error")
    collect_seldom()
    ending = _ending()
    try:
        async with opened_ledger(settings) as into, open_records(kafka_of(settings), ranges) as source:
            processor = Processor(into.ledger, into.rules, failpoint(settings.kill_at), moves_offsets=False)
            replay = Replay(PostgresLookup(into.pool, settings.topic_prefix), processor, into.operations)
            with replay_progress(sum(len(one) for one in ranges)) as moved:
                await replay.run(source, wanted, person, arguments, ending, report.batch, moved, replayed)
    except (RangeStalled, NoTemporaryRoom) as error:
        raise CommandFailed(f"{error}; {_stopped(replayed)}") from None
    except (KafkaError, TimeoutError) as error:
        raise CommandFailed(f"Kafka does not answer: {error or type(error).__name__}; {_stopped(replayed)}") from None
    except LedgerUnavailable as error:
        raise CommandFailed(f"{describe_ledger_error(error)}; {_stopped(replayed)}") from None


def _stopped(replayed: "Replayed") -> str:
    return f"stopped after {replayed.read:,} messages, and {SAFE}"


def _ending() -> "asyncio.Event":
    """An event that Ctrl-C sets; a second Ctrl-C ends the command at once."""
    import asyncio

    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        ending.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, end)
    return ending
