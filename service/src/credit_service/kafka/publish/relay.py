"""The relay: publishes the outbox in Kafka transactions, each event once for a read_committed consumer.

A claim row in Postgres names the rows that a transaction carries; the transaction carries the claim's id, as the
metadata of an offset. Whoever finds a claim therefore knows whether it was published.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeAlias

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from credit_service import bounds
from credit_service.application.errors import AccessDenied, LedgerUnavailable, RefusedByLedger
from credit_service.application.ports import Claim, Outbox, OutboxSession, ReportProblem, ignore_problem
from credit_service.application.processing.outgoing_record import OutgoingRecord, outgoing_record
from credit_service.application.tracing import UNTRACED, Tracing
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.access.transactions import no_producer
from credit_service.kafka.connect.client import made
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import REFUSALS, describe
from credit_service.kafka.publish.claim_recovery import was_published
from credit_service.kafka.publish.refused_rows import REFUSED_FOR_GOOD, NotTaken, RefusedRows, RowsRefused
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
# A person has to grant what is missing.
DENIED_RETRY_SECONDS = 5.0
# One that ends hands over to another process after so long, if that other one has ever more to be published.
HAND_OVER_SECONDS = 1.0
# Once one batch was refused, the others are heard no longer.
SETTLE_SECONDS_MAX = 1.0

_Sent: TypeAlias = "tuple[list[int], asyncio.Future[object]]"
"""A batch: the places of its rows in the claim, and its end."""


class ClaimRefused(Exception):  # noqa: N818 - reads as what happened
    """The claim is not published, since Kafka refuses rows of it."""

    def __init__(self, claim: Claim, refusal: RowsRefused) -> None:
        super().__init__()
        self.claim = claim
        self.refusal = refusal


class Relay:
    """Publishes while it leads, waits while another one does, until it is stopped.

    `report_problem` is called when the outbox is denied to it, or a topic, and that it is no more.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        outbox: Outbox,
        access: AccessWatch,
        reach: Failpoint = no_failpoints,
        report_problem: ReportProblem = ignore_problem,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self.is_leading = False
        self.published: Counter[str] = Counter()
        self.restarts = 0
        self._connection = connection
        self._outbox = outbox
        self._access = access
        self._reach = reach
        self._tell = report_problem
        self._tracing = tracing
        self._rung = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0

    def ring(self) -> None:
        """Says that something waits in the outbox."""
        self._rung.set()

    def stop(self) -> None:
        """Lets the relay publish what waits now, and then end."""
        self._stopped_at = time.monotonic()
        self._stopping.set()
        self._rung.set()

    async def run(self) -> None:
        """Leads, or tries to; whatever goes wrong, it begins anew from what Postgres and Kafka say."""
        while not self._stopping.is_set():
            pause_seconds = RETRY_SECONDS
            try:
                await self._lead()
            except AccessDenied as error:
                self.restarts += 1
                pause_seconds = DENIED_RETRY_SECONDS
                self._tell(f"nothing is published: {error}")
            except REFUSALS as error:
                self.restarts += 1
                pause_seconds = DENIED_RETRY_SECONDS
                self._tell(f"nothing is published: {describe(error)}")
                self._access.suspect()
            except (KafkaError, LedgerUnavailable, RefusedByLedger, TimeoutError, OSError) as error:
                self.restarts += 1
                if not isinstance(error, LedgerUnavailable | RefusedByLedger):
                    self._access.suspect()
                log.warning("relay begins anew", cause=type(error).__name__)
            except Exception:  # a defect must not end the relay for good; the outbox keeps what waits
                self.restarts += 1
                log.exception("relay failed and begins anew")
            finally:
                self.is_leading = False
            await self._pause(pause_seconds)
            while self._access.publishing and not self._stopping.is_set():
                await self._pause(RETRY_SECONDS)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _lead(self) -> None:
        async with self._outbox.lead(self.ring) as session:
            if session is None:
                self._tell(None)
                return
            refused = RefusedRows()
            while True:
                # One that had a record refused has lost count of its partition's: the next one begins anew.
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
        """Has the rows wait again: their commit was never asked for. What only they are to blame for is set aside."""
        await session.not_published(error.claim)
        for number, cause in refused.refused(error.claim, error.refusal).items():
            await session.set_aside(number, cause)
            log.error("row of the outbox set aside, a person has to look at it", outbox_id=number, cause=cause)
        self._tell(refused.problem)

    @contextlib.asynccontextmanager
    async def _fenced_producer(self) -> AsyncIterator[AIOKafkaProducer]:
        """A producer whose start ends the transaction of any predecessor, and shuts it out."""
        producer = made(
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
        """One claim, or a wait for news; False once the relay is to end, and nothing waits that has waited then."""
        self._rung.clear()
        refused.try_again()
        claim = await session.claim(refused.rows_max, bounds.CLAIM_BYTES_MAX, refused.left_out)
        if claim is None:
            self._tell(refused.problem)
            if self._stopping.is_set():
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._rung.wait()
            return True
        # One that had room for more took all that waited: what comes after it, others have decided.
        has_all = len(claim.rows) < refused.rows_max and not claim.is_cut
        with self._tracing.publication(claim.rows):
            try:
                async with asyncio.timeout(PUBLISH_SECONDS_MAX):
                    await self._publish(claim, producer)
            except RowsRefused as error:
                raise ClaimRefused(claim, error) from None
            self._reach("before-cleanup")
            await session.published(claim)
            refused.published(claim)
            self._tell(refused.problem)
            self.published.update(waiting.topic for waiting in claim.rows)
            log.info("published", events=len(claim.rows))
        return not (has_all and self._stopping.is_set() and time.monotonic() - self._stopped_at > HAND_OVER_SECONDS)

    async def _publish(self, claim: Claim, producer: AIOKafkaProducer) -> None:
        await producer.begin_transaction()
        by_partition = await self._by_partition(claim, producer)
        # Side by side: a partition's second batch waits until its first one is on its way.
        sent = await asyncio.gather(
            *(self._send(producer, topic, number, records) for (topic, number), records in by_partition.items()),
            return_exceptions=True,
        )
        await _settle(claim, sent)
        cursor = {TopicPartition(self._connection.cursor_topic, 0): OffsetAndMetadata(0, claim.claim_id)}
        await producer.send_offsets_to_transaction(cursor, self._connection.relay_id)
        self._reach("before-kafka-commit")
        await producer.commit_transaction()
        self._reach("after-kafka-commit")

    async def _by_partition(
        self, claim: Claim, producer: AIOKafkaProducer
    ) -> dict[tuple[str, int], list[tuple[int, OutgoingRecord]]]:
        """The records, each with the place of its row in the claim."""
        by_partition = defaultdict(list)
        counts: dict[str, int] = {}
        for place, waiting in enumerate(claim.rows):
            if waiting.topic not in counts:
                partitions = await producer.partitions_for(self._connection.topic(waiting.topic))
                counts[waiting.topic] = len(partitions)
            try:
                record = outgoing_record(waiting, counts[waiting.topic])
            except Exception as error:
                raise _not_made(place, error) from error
            by_partition[record.topic, record.partition].append((place, record))
        return by_partition

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[tuple[int, OutgoingRecord]]
    ) -> list[_Sent]:
        """Fills batches in order; each is sent once it is full."""
        name = self._connection.topic(topic)
        sent = []
        batch, places = producer.create_batch(), list[int]()
        for place, record in records:
            is_taken = _is_taken(batch, place, record)
            if not is_taken and places:
                sent.append((places, await producer.send_batch(batch, name, partition=partition)))
                batch, places = producer.create_batch(), []
                is_taken = _is_taken(batch, place, record)
            if not is_taken:
                raise RowsRefused([([place], NotTaken.__name__)])
            places.append(place)
        sent.append((places, await producer.send_batch(batch, name, partition=partition)))
        return sent


def _is_taken(batch: Any, place: int, record: OutgoingRecord) -> bool:
    """Whether there was room for it."""
    try:
        taken = batch.append(key=record.key, value=record.value, headers=record.headers, timestamp=None)
    except Exception as error:
        raise _not_made(place, error) from error
    return taken is not None


def _not_made(place: int, error: Exception) -> RowsRefused:
    """What the client makes no record of is as good as refused by the broker."""
    return RowsRefused([([place], type(error).__name__)])


async def _settle(claim: Claim, sent: Iterable[list[_Sent] | BaseException]) -> None:
    """Waits until all is written; raises `RowsRefused` if rows were refused, and else what kept it."""
    groups: list[tuple[Sequence[int], str]] = []
    failed: list[BaseException] = []
    places: dict[asyncio.Future[object], list[int]] = {}
    for one in sent:
        match one:
            case RowsRefused():
                groups += one.groups
            case BaseException():
                failed.append(one)
            case _:
                places |= {future: rows for rows, future in one}
    if places:
        _, pending = await asyncio.wait(places, return_when=asyncio.FIRST_EXCEPTION)
        if pending:
            # What one partition refuses, others may take, and what follows a refused batch fails for another reason.
            await asyncio.wait(pending, timeout=SETTLE_SECONDS_MAX)
    taken = set()
    for future, rows in places.items():
        if not future.done():
            future.add_done_callback(_heard)
        elif (error := future.exception()) is None:
            taken.add(claim.rows[rows[0]].topic)
        elif isinstance(error, REFUSED_FOR_GOOD):
            groups.append((rows, type(error).__name__))
        else:
            failed.append(error)
    if groups:
        raise RowsRefused(groups, taken)
    if failed:
        raise failed[0]


def _heard(future: asyncio.Future[object]) -> None:
    """Has nobody say later that nobody asked how it ended."""
    if not future.cancelled():
        future.exception()
