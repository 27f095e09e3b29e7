"""What a frozen service holds, it loses in an order; the test of two services shortens the times, and keeps that."""

from credit_service.kafka.consume.subscriber import SESSION_TIMEOUT_MS
from credit_service.kafka.publish.relay import PUBLISH_SECONDS_MAX, TRANSACTION_TIMEOUT_MS
from credit_service.postgres.ledger.outbox import LEADER_IDLE_TIMEOUT
from credit_service.postgres.session import SESSION

TAKEN_OVER_SECONDS_MAX = 75


def test_partitions_go_first_and_whoever_leads_the_relay_afterwards_waits_for_no_transaction() -> None:
    led = float(LEADER_IDLE_TIMEOUT.removesuffix("s"))
    times = [SESSION_TIMEOUT_MS / 1000, PUBLISH_SECONDS_MAX, TRANSACTION_TIMEOUT_MS / 1000, led]
    assert times == sorted(set(times))
    assert SESSION["idle_in_transaction_session_timeout"] == LEADER_IDLE_TIMEOUT
    assert led + times[0] < TAKEN_OVER_SECONDS_MAX
