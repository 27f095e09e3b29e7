"""Wires the service together, and runs it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from credit_service import bounds
from credit_service.application.processing.parked_expiry import ParkedExpiry
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.timer_sweep import TimerSweep
from credit_service.application.readiness import Status
from credit_service.application.tracing import UNTRACED, Tracing
from credit_service.asyncapi.document import Deployed
from credit_service.bootstrap.garbage_collection import collect_seldom
from credit_service.bootstrap.ledger import ledger_on
from credit_service.bootstrap.shutdown import end
from credit_service.bootstrap.startup import check_schema, check_topics, join_group, until_well
from credit_service.http.access import Access, kept_current
from credit_service.http.app import create_api, create_health_app
from credit_service.http.server import HttpServer, serving
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.intake import Intake
from credit_service.kafka.consume.turns import IntakeBounds
from credit_service.kafka.publish.outbox_notifier import OutboxNotifier
from credit_service.kafka.publish.relay import Relay
from credit_service.metrics.gauges import PoolUse, ServiceState, TopicLag
from credit_service.metrics.registry import Metrics
from credit_service.postgres.address import Addresses
from credit_service.postgres.health.probe import PostgresProbe
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.ledger.outbox import PostgresOutbox
from credit_service.postgres.migrate import newest_version
from credit_service.postgres.pool import open_pool
from credit_service.postgres.reads.queries import PostgresReads
from credit_service.runtime.failpoints import failpoint
from credit_service.runtime.logging import log_loop_error
from credit_service.settings import load_http_tokens
from credit_service.watch.loop_guard import guarded
from credit_service.watch.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from credit_service.application.ports import ReportProblem
    from credit_service.application.processing.report import Report
    from credit_service.postgres.pool import FailoverPool, Pool
    from credit_service.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that run."""

    intake: Intake
    relay: Relay
    notifier: OutboxNotifier
    watch: Watch


def build(
    settings: Settings,
    connection: KafkaConnection,
    addresses: Addresses,
    pools: Mapping[str, FailoverPool],
    status: Status,
    metrics: Metrics,
    tracing: Tracing = UNTRACED,
) -> Service:
    """Wires the parts; connects to nothing yet."""
    pool = pools["ledger"]
    rules = settings.rules
    reach = failpoint(settings.kill_at)
    ledger = ledger_on(settings, pool)

    def reporter_of(part: str) -> ReportProblem:
        def tell(problem: str | None) -> None:
            if status.set(part, problem):
                if problem:
                    log.warning("not ready", part=part, problem=problem)
                else:
                    log.info("well again", part=part)

        return tell

    processor = Processor(ledger, rules, reach, report_problem=reporter_of("ledger"))
    access = AccessWatch(connection, status)
    outbox = PostgresOutbox(addresses.relay, pool)
    relay = Relay(connection, outbox, access, reach, reporter_of("relay"), tracing)
    notifier = OutboxNotifier(relay, outbox)

    def stored(report: Report) -> None:
        metrics.stored(report)
        if report.changes or report.dead_letters or report.outcomes["declined"]:
            notifier.notify()

    bounds = IntakeBounds(settings.batch_records_max, settings.unreadable_in_a_row_max)
    expiry = ParkedExpiry(ledger, timedelta(hours=settings.parked_hours_max))
    intake = Intake(
        connection,
        processor,
        PostgresOffsetStore(pool),
        lambda: TimerSweep(ledger, processor, expiry),
        status,
        stored,
        bounds,
        access,
        tracing,
    )
    database, probe = PostgresProbe(pools["watch"]), PostgresReads(pools["probe"])
    watch = Watch(database, probe, intake, status, settings.stuck_seconds_max)
    return Service(intake, relay, notifier, watch)


def service_state(service: Service, status: Status, pools: Mapping[str, Pool]) -> ServiceState:
    """The state of the parts, for the metrics."""
    intake, relay, watch = service.intake, service.relay, service.watch
    lag = intake.lag()
    behind = None if lag is None else {topic: TopicLag(of.messages, of.seconds) for topic, of in lag.items()}
    return ServiceState(
        is_ready=not status.problems,
        degraded=set(status.degraded),
        buffered=intake.buffered,
        assigned=intake.assigned,
        progress_age_seconds=watch.waited_seconds,
        retries=intake.retries,
        relay_leads=relay.is_leading,
        relay_restarts=relay.restarts,
        published=relay.published,
        pools=[PoolUse(n, p.get_size(), p.get_idle_size(), p.get_max_size()) for n, p in pools.items()],
        lag=behind,
        database_answers=watch.database_answers,
        backlog=watch.backlog,
    )


async def serve(settings: Settings) -> int:
    """Runs the service until SIGTERM or SIGINT; returns the exit code.

    At the start it waits for a database, its schema, a broker and topics, and logs once what is missing.
    """
    collect_seldom()
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, ending.set)
    connection = KafkaConnection.of(settings)
    status, metrics = Status(), Metrics(connection.event_type, newest_version())
    addresses = Addresses.of(settings)
    ledger, reader = addresses.service, addresses.reader
    async with (
        guarded(settings.stuck_seconds_max),
        open_pool(ledger) as pool,
        open_pool(reader, bounds.READ_CONNECTIONS_MAX, is_read_only=True, grouped_with=pool) as reads_pool,
        open_pool(reader, bounds.PROBE_CONNECTIONS_MAX, is_read_only=True, grouped_with=pool) as probe_pool,
        open_pool(ledger, bounds.WATCH_CONNECTIONS_MAX, grouped_with=pool) as watch_pool,
        traces(settings.otlp_endpoint) as tracing,
    ):
        pools = {"ledger": pool, "reads": reads_pool, "probe": probe_pool, "watch": watch_pool}
        reads = PostgresReads(reads_pool)
        service = build(settings, connection, addresses, pools, status, metrics, tracing)
        metrics.state = lambda: service_state(service, status, pools)

        async def ping() -> None:
            await PostgresReads(probe_pool).ping()
            if ledger is not reader:
                await PostgresReads(pool).ping()

        access = Access(settings.http_tokens)
        read_api = create_api(reads, access, Deployed.of(settings), metrics.registry)
        api = HttpServer(read_api, settings.http_host, settings.http_port)
        health_app = create_health_app(status, ping, metrics.registry)
        health = HttpServer(health_app, settings.health_host, settings.health_port)
        async with (
            serving(api, health, end_seconds_max=settings.shutdown_seconds * 0.1),
            kept_current(access, load_http_tokens),
        ):
            exit_code = await _run(settings, connection, service, addresses, pool, status, ending)
        # The time for the end is spent: open connections are cut.
        for opened in pools.values():
            opened.terminate()
    log.info("ended", exit_code=exit_code)
    return exit_code


def traces(endpoint: str) -> AbstractAsyncContextManager[Tracing]:
    """Tracing to the collector at `endpoint`; without one, the tracing libraries are not imported."""
    if not endpoint:
        return contextlib.nullcontext(UNTRACED)
    from credit_service.tracing.export import tracing_to

    return tracing_to(endpoint)


async def _run(
    settings: Settings,
    connection: KafkaConnection,
    service: Service,
    addresses: Addresses,
    pool: Pool,
    status: Status,
    ending: asyncio.Event,
) -> int:
    steps: list[tuple[str, Callable[[], Awaitable[str | None]]]] = [
        ("database", lambda: check_schema(addresses, pool, service.watch)),
        ("kafka", lambda: check_topics(connection)),
        ("kafka", lambda: join_group(service.intake)),
    ]
    for part, step in steps:
        if not await until_well(part, step, status, ending):
            return 0
    status.set("start", None)
    log.info("serving")
    async with _running(service) as tasks:
        stopped = asyncio.create_task(ending.wait())
        stuck = asyncio.create_task(service.watch.run())
        await asyncio.wait({stopped, stuck, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        stuck.cancel()
        status.set("end", "ending")
        clean = ending.is_set()
        await end(service, tasks, settings.shutdown_seconds)
    return 0 if clean else 1


@contextlib.asynccontextmanager
async def _running(service: Service) -> AsyncIterator[list[asyncio.Task[None]]]:
    notices = asyncio.create_task(service.notifier.run())
    tasks = [asyncio.create_task(service.intake.run()), asyncio.create_task(service.relay.run())]
    try:
        yield tasks
    finally:
        for task in (notices, *tasks):
            task.cancel()
        await asyncio.gather(notices, *tasks, return_exceptions=True)
