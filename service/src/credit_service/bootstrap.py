"""The one place that wires the service together, starts it, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from credit_service import bounds
from credit_service.application.errors import AccessDenied, LedgerUnavailable, SessionsShared
from credit_service.application.processing.parked_expiry import ParkedExpiry
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.timer_sweep import TimerSweep
from credit_service.application.readiness import Status
from credit_service.application.tracing import UNTRACED, Tracing
from credit_service.asyncapi.document import Deployed
from credit_service.http.access import Access, kept_current
from credit_service.http.app import create_api, create_health_app
from credit_service.http.server import HttpServer, serving
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, Refused, describe
from credit_service.kafka.consume.intake import Intake, IntakeBounds
from credit_service.kafka.publish.outbox_notifier import OutboxNotifier
from credit_service.kafka.publish.relay import Relay
from credit_service.kafka.topics import missing_or_uneven
from credit_service.metrics.registry import Metrics
from credit_service.metrics.standing import PoolUse, Standing, TopicLag
from credit_service.postgres.address import Addresses
from credit_service.postgres.health.backlog import PostgresProbe
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.ledger.outbox import PostgresOutbox
from credit_service.postgres.migrate import newest_version
from credit_service.postgres.pool import connect, open_pool
from credit_service.postgres.reads.queries import PostgresReads
from credit_service.postgres.schema import schema_problem
from credit_service.runtime.failpoints import failpoint
from credit_service.runtime.logging import log_what_the_loop_meets
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

RETRY_SECONDS = 1.0
NEW_OBJECTS_PER_COLLECTION = 300_000


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that run."""

    intake: Intake
    relay: Relay
    doorbell: OutboxNotifier
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
    ledger = PostgresLedger(
        pool,
        unparked_max=rules.unparked_max,
        topic_prefix=settings.topic_prefix,
        letter_bytes_per_day=settings.dead_letter_bytes_per_day,
    )

    def told_of(part: str) -> ReportProblem:
        def tell(problem: str | None) -> None:
            if status.set(part, problem):
                if problem:
                    log.warning("not ready", part=part, problem=problem)
                else:
                    log.info("well again", part=part)

        return tell

    processor = Processor(ledger, rules, reach, report_problem=told_of("ledger"))
    access = AccessWatch(connection, status)
    outbox = PostgresOutbox(addresses.relay, pool)
    relay = Relay(connection, outbox, access, reach, told_of("relay"), tracing)
    doorbell = OutboxNotifier(relay, outbox)

    def stored(report: Report) -> None:
        metrics.stored(report)
        if report.changes or report.dead_letters or report.outcomes["declined"]:
            doorbell.press()

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
    sight, probe = PostgresProbe(pools["watch"]), PostgresReads(pools["probe"])
    watch = Watch(sight, probe, intake, status, settings.stuck_seconds_max)
    return Service(intake, relay, doorbell, watch)


def standing(service: Service, status: Status, pools: Mapping[str, Pool]) -> Standing:
    """What the metrics show of the parts, now."""
    intake, relay, watch = service.intake, service.relay, service.watch
    lag = intake.lag()
    behind = None if lag is None else {topic: TopicLag(of.messages, of.seconds) for topic, of in lag.items()}
    return Standing(
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

    What is missing at the start (a database, its schema, a broker, topics) is said once and waited for.
    """
    collect_seldom()
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_what_the_loop_meets)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, ending.set)
    connection = KafkaConnection.of(settings)
    status, metrics = Status(), Metrics(connection.event_type, newest_version())
    addresses = Addresses.of(settings)
    ledger, reader = addresses.service, addresses.reader
    async with (
        guarded(settings.stuck_seconds_max),
        open_pool(ledger) as pool,
        open_pool(reader, bounds.READ_CONNECTIONS_MAX, is_read_only=True, beside=pool) as reads_pool,
        open_pool(reader, bounds.PROBE_CONNECTIONS_MAX, is_read_only=True, beside=pool) as probe_pool,
        open_pool(ledger, bounds.WATCH_CONNECTIONS_MAX, beside=pool) as watch_pool,
        traces(settings.otlp_endpoint) as tracing,
    ):
        pools = {"ledger": pool, "reads": reads_pool, "probe": probe_pool, "watch": watch_pool}
        reads = PostgresReads(reads_pool)
        service = build(settings, connection, addresses, pools, status, metrics, tracing)
        metrics.standing = lambda: standing(service, status, pools)

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
        # Whatever is left of connections is not waited for: the budget is spent.
        for opened in pools.values():
            opened.terminate()
    log.info("ended", exit_code=exit_code)
    return exit_code


def traces(endpoint: str) -> AbstractAsyncContextManager[Tracing]:
    """To the collector at `endpoint`; without one nothing is traced, and nothing of it is loaded."""
    if not endpoint:
        return contextlib.nullcontext(UNTRACED)
    from credit_service.tracing.export import tracing_to

    return tracing_to(endpoint)


def collect_seldom() -> None:
    """Has Python look for cycles far less often than it does by itself.

    What a batch makes is freed by reference counts. The collector finds next to nothing, yet goes through all that
    waits to be decided, again and again: a third of the time that a message took.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_PER_COLLECTION)


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
        ("database", lambda: _schema(addresses, pool, service.watch)),
        ("kafka", lambda: _topics(connection)),
        ("kafka", lambda: _join(service.intake)),
    ]
    for part, step in steps:
        if not await _until_well(part, step, status, ending):
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
        await _end(service, tasks, settings.shutdown_seconds)
    return 0 if clean else 1


@contextlib.asynccontextmanager
async def _running(service: Service) -> AsyncIterator[list[asyncio.Task[None]]]:
    bell = asyncio.create_task(service.doorbell.run())
    tasks = [asyncio.create_task(service.intake.run()), asyncio.create_task(service.relay.run())]
    try:
        yield tasks
    finally:
        for task in (bell, *tasks):
            task.cancel()
        await asyncio.gather(bell, *tasks, return_exceptions=True)


async def _end(service: Service, tasks: list[asyncio.Task[None]], budget_seconds: float) -> None:
    """Finishes the batch, leaves the group and publishes what it decided; all within the budget."""
    intake, relay = tasks
    log.info("ending, the batch in hand is finished")
    service.intake.stop()
    if not await _ends_within(intake, budget_seconds * 0.4):
        service.intake.abandon()
        await _ends_within(intake, budget_seconds * 0.1)
    service.relay.stop()
    # Side by side: what this member had is read by others, while what it has decided is published.
    leaving = asyncio.create_task(service.intake.leave())
    await _ends_within(relay, budget_seconds * 0.25)
    # The last tenth is for those who are being answered over HTTP.
    if not await _ends_within(leaving, budget_seconds * 0.15):
        leaving.cancel()


async def _ends_within(task: asyncio.Task[None], seconds: float) -> bool:
    done, _ = await asyncio.wait({task}, timeout=seconds)
    for ended in done:
        if not ended.cancelled() and (error := ended.exception()):
            log.error("a part ended with an error", cause=type(error).__name__, exc_info=error)
    return bool(done)


async def _until_well(
    part: str, step: Callable[[], Awaitable[str | None]], status: Status, ending: asyncio.Event
) -> bool:
    """Repeats `step` until it has no complaint; each new one is said once. False if the service is to end first."""
    while not ending.is_set():
        taken = asyncio.ensure_future(step())
        ended = asyncio.create_task(ending.wait())
        await asyncio.wait({taken, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not taken.done():
            taken.cancel()
            await asyncio.gather(taken, return_exceptions=True)
            return False
        problem = await taken
        if status.set(part, problem) and problem:
            log.warning("not ready", part=part, problem=problem)
        if problem is None:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), RETRY_SECONDS)
    return False


async def _schema(addresses: Addresses, pool: Pool, watch: Watch) -> str | None:
    """What is wrong with the database. That it is away the watch is told, which has not begun to look itself."""
    try:
        problem = await schema_problem(pool)
        await _hold_to_sessions(addresses)
    except SessionsShared:
        raise
    except LedgerUnavailable as error:
        watch.database_answers = False
        return f"the database {'denies access' if isinstance(error, AccessDenied) else 'does not answer'}: {error}"
    watch.database_answers = None
    return problem


async def _hold_to_sessions(addresses: Addresses) -> None:
    """Raises `SessionsShared` for each role's address; whatever else is wrong there, its part says when it needs it."""
    for address in addresses.served:
        if not address.has_sessions:
            try:
                (await connect(address)).terminate()
            except SessionsShared:
                raise
            except LedgerUnavailable:
                pass


async def _topics(connection: KafkaConnection) -> str | None:
    try:
        return await missing_or_uneven(connection)
    except Refused as error:
        return str(error)
    except BrokerUnavailable as error:
        return f"Kafka does not answer: {error}"


async def _join(intake: Intake) -> str | None:
    try:
        await intake.start()
    except (KafkaError, TimeoutError, OSError) as error:
        return f"Kafka: {describe(error)}"
    return None
