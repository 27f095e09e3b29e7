"""The relay: publishes the outbox in Kafka transactions, each event once for a read_committed consumer.

A claim row in Postgres names the rows of a transaction; the transaction has the claim's id as the metadata of an
offset. A relay that finds a claim can therefore find out whether it was published.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from credit_service import bounds
from credit_service.application.errors import AccessDenied, LedgerUnavailable, RefusedByLedger
from credit_service.application.ports import Claim, Outbox, OutboxSession, ReportProblem, ignore_problem
from credit_service.application.tracing import UNTRACED, Tracing
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.access.transactions import no_producer
from credit_service.kafka.connect.client import create_client
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import REFUSALS, describe
from credit_service.kafka.publish.claim_recovery import was_published
from credit_service.kafka.publish.claim_transaction import ClaimTransaction
from credit_service.kafka.publish.refused_rows import RefusedRows, RowsRefused
from credit_service.runtime.failpoints import Failpoint, no_failpoints

log = structlog.get_logger(__name__)

# Every wait on Kafka ends before the leader's connection would count as idle.
PUBLISH_SECONDS_MAX = 20.0
START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 5.0
# Longer than any publishing, shorter than a frozen leader keeps its lock: readers wait no longer than they must.
TRANSACTION_TIMEOUT_MS = 25_000
POLL_SECONDS = 1.0
RETRY_SECONDS = 1.0
# An operator has to grant the missing rights.
DENIED_RETRY_SECONDS = 5.0
# A stopped relay ends after this time, even if new rows keep coming: another process publishes them.
HAND_OVER_SECONDS = 1.0


class ClaimRefused(Exception):  # noqa: N818 - reads as what happened
    """A claim is not published because Kafka refuses rows of it."""

    def __init__(self, claim: Claim, refusal: RowsRefused) -> None:
        super().__init__()
        self.claim = claim
        self.refusal = refusal


class Relay:
    """Publishes while it leads, and waits while another process leads, until it is stopped.

    `report` is called with the problem when access to the outbox or a topic is denied, and with None when it clears.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        outbox: Outbox,
        access: AccessWatch,
        reach: Failpoint = no_failpoints,
        report: ReportProblem = ignore_problem,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self.is_leading = False
        self.published: Counter[str] = Counter()
        self.restarts = 0
        self._connection = connection
        self._outbox = outbox
        self._access = access
        self._reach = reach
        self._transaction = ClaimTransaction(connection, reach)
        self._report = report
        self._tracing = tracing
        self._notified = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0

    def notify(self) -> None:
        """Notes that rows wait in the outbox."""
        self._notified.set()

    def stop(self) -> None:
        """Has the relay publish the rows that wait now, and then end."""
        self._stopped_at = time.monotonic()
        self._stopping.set()
        self._notified.set()

    async def run(self) -> None:
        """Leads, or tries to; after any error it begins again from the state in Postgres and Kafka."""
        while not self._stopping.is_set():
            pause_seconds = RETRY_SECONDS
            try:
                await self._lead()
            except AccessDenied as error:
                self.restarts += 1
                pause_seconds = DENIED_RETRY_SECONDS
                self._report(f"nothing is published: {error}")
            except REFUSALS as error:
                self.restarts += 1
                pause_seconds = DENIED_RETRY_SECONDS
                self._report(f"nothing is published: {describe(error)}")
                self._access.suspect()
            except (KafkaError, LedgerUnavailable, RefusedByLedger, TimeoutError, OSError) as error:
                self.restarts += 1
                if not isinstance(error, LedgerUnavailable | RefusedByLedger):
                    self._access.suspect()
                log.warning("relay restarts", cause=type(error).__name__)
            except Exception:  # a defect must not end the relay for good; the rows stay in the outbox
                self.restarts += 1
                log.exception("relay failed and restarts")
            finally:
                self.is_leading = False
            await self._pause(pause_seconds)
            while self._access.publishing and not self._stopping.is_set():
                await self._pause(RETRY_SECONDS)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _lead(self) -> None:
        async with self._outbox.lead(self.notify) as session:
            if session is None:
                self._report(None)
                return
            refused = RefusedRows()
            while True:
                # After a refused record the producer's sequence numbers are wrong, so another is created.
                async with self._fenced_producer() as producer:
                    await self._finish_left_over(session)
                    if not self.is_leading:
                        log.info("relay leads")
                    self.is_leading = True
                    try:
                        while await self._publish_waiting(session, producer, refused):
                            pass
                    except ClaimRefused as error:
                        await self._look_into(error, session, refused)
                    else:
                        return

    async def _look_into(self, error: "ClaimRefused", session: OutboxSession, refused: RefusedRows) -> None:
        """Returns the claim's rows to the outbox, as no commit was requested, and sets rows aside that are at fault."""
        await session.not_published(error.claim)
        for number, cause in refused.refused(error.claim, error.refusal).items():
            await session.set_aside(number, cause)
            log.error("row of the outbox set aside, a person has to look at it", outbox_id=number, cause=cause)
        self._report(refused.problem)

    @contextlib.asynccontextmanager
    async def _fenced_producer(self) -> AsyncIterator[AIOKafkaProducer]:
        """A producer whose start ends the transaction of its predecessor, and fences it."""
        producer = create_client(
            AIOKafkaProducer,
            self._connection,
            client_id=self._connection.relay_id,
            transactional_id=self._connection.relay_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            acks="all",
            max_batch_size=bounds.PUBLISH_BATCH_BYTES_MAX,
            request_timeout_ms=int(PUBLISH_SECONDS_MAX * 1000 / 2),
        )
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                try:
                    await producer.start()
                except KafkaError as error:
                    raise no_producer(error) or error from None
            yield producer
        finally:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await producer.stop()

    async def _finish_left_over(self, session: OutboxSession) -> None:
        claim = await session.left_over()
        if claim is None:
            return
        if await was_published(claim, self._connection):
            log.info("claim left over, it was published", rows=len(claim.rows))
            await session.published(claim)
        else:
            log.info("claim left over, it was not published", rows=len(claim.rows))
            await session.not_published(claim)

    async def _publish_waiting(self, session: OutboxSession, producer: AIOKafkaProducer, refused: RefusedRows) -> bool:
        """Publishes a claim, or waits for rows; False once the relay is stopped and the rows of then are published."""
        self._notified.clear()
        refused.try_again()
        claim = await session.claim(refused.rows_max, bounds.CLAIM_BYTES_MAX, refused.left_out)
        if claim is None:
            self._report(refused.problem)
            if self._stopping.is_set():
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._notified.wait()
            return True
        # A claim with room left took all waiting rows: later ones were decided by other processes.
        has_all = len(claim.rows) < refused.rows_max and not claim.is_cut
        with self._tracing.publication(claim.rows):
            try:
                async with asyncio.timeout(PUBLISH_SECONDS_MAX):
                    await self._transaction.publish(claim, producer)
            except RowsRefused as error:
                raise ClaimRefused(claim, error) from None
            self._reach("before-cleanup")
            await session.published(claim)
            refused.published(claim)
            self._report(refused.problem)
            self.published.update(waiting.topic for waiting in claim.rows)
            log.info("published", events=len(claim.rows))
        return not (has_all and self._stopping.is_set() and time.monotonic() - self._stopped_at > HAND_OVER_SECONDS)
