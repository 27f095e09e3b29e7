"""The values of the labels: closed sets, so that series are few and exist from the start."""

from typing import Final, get_args

from credit_contracts.dead_letters import REASONS as DEAD_LETTER_REASONS
from credit_contracts.topics import DEAD_LETTER_TOPIC, INCOMING_TOPICS, OUTGOING_TOPICS
from credit_service.application.processing.report import STEPS
from credit_service.domain.decision import Outcome

READ: Final = INCOMING_TOPICS
PUBLISHED: Final = (*OUTGOING_TOPICS, DEAD_LETTER_TOPIC)
DEAD_LETTER: Final = "dead-letter"

# Outcomes of timers and operators' commands, but of no message on Kafka.
_NOT_OF_MESSAGES = {"renewed", "expired", "rejected", "opened", "adjusted"}

OUTCOMES: Final = (*(o for o in get_args(Outcome) if o not in _NOT_OF_MESSAGES), "duplicate", "parked", DEAD_LETTER)
REASONS: Final = tuple(DEAD_LETTER_REASONS)
STEP: Final = STEPS
POOLS: Final = ("ledger", "reads", "probe", "watch")
DEGRADED: Final = ("compacted", "group", "held", "outbox", "pinned", "topics")
POOL_STATES: Final = ("idle", "used")
