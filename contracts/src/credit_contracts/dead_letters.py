"""Dead letters: their reasons, and the headers that they carry beside the original ones."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

UnreadableReason = Literal[
    "no-value",
    "too-large",
    "bad-header",
    "wrong-content-type",
    "not-json",
    "bad-envelope",
    "unknown-type",
    "wrong-topic",
    "bad-data",
]
DeadLetterReason = (
    UnreadableReason
    | Literal[
        "reserved-source",
        "conflict",
        "from-the-future",
        "before-1970",
        "account-full",
        "parked-full",
        "parked-too-long",
        "refused-by-database",
        "undecidable",
    ]
)

ReasonKind = Literal["message", "event", "account", "first-plan", "service"]
"""What is at fault: the message's form, the event's content, the account as a whole, the account's missing first plan,
or the service itself."""


class ReasonText(NamedTuple):
    """What a reason means, and who has to act before a retry or a corrected message can succeed."""

    kind: ReasonKind
    meaning: str
    who_acts: str


_PRODUCER: Final = "its producer, who sends a corrected message with the same id"
_BILLING: Final = "the producer of plans, who sends the account's first plan; then an operator retries the letter"
_OPERATOR: Final = "an operator of the service"

REASONS: Final[Mapping[DeadLetterReason, ReasonText]] = {
    "no-value": ReasonText("message", "the record has no value", _PRODUCER),
    "too-large": ReasonText("message", "the value is larger than 1 MiB and was not looked at", _PRODUCER),
    "bad-header": ReasonText(
        "message",
        "a header that is needed is null, not UTF-8, or there twice, or the name of any is not UTF-8",
        _PRODUCER,
    ),
    "wrong-content-type": ReasonText(
        "message", "the content type is neither JSON nor a CloudEvent in JSON, in UTF-8", _PRODUCER
    ),
    "not-json": ReasonText("message", "the value is not JSON, or nested too deeply", _PRODUCER),
    "bad-envelope": ReasonText("message", "an attribute of the CloudEvent is missing or not valid", _PRODUCER),
    "unknown-type": ReasonText("message", "nobody knows events of this type", _PRODUCER),
    "wrong-topic": ReasonText("message", "the type is known but belongs to another topic", _PRODUCER),
    "bad-data": ReasonText("message", "a field of the data is missing or not valid", _PRODUCER),
    "reserved-source": ReasonText("event", "the event's source is that of the service's own events", _PRODUCER),
    "conflict": ReasonText(
        "event",
        "the same source and id were decided before with other content",
        "its producer, who sends the event with a new id",
    ),
    "from-the-future": ReasonText(
        "event",
        "the event's time is more than 5 minutes ahead of the database's clock, or of its arrival in Kafka",
        "its producer, who corrects the clock; then an operator retries the letter",
    ),
    "before-1970": ReasonText("event", "the event's time is before 1970", _PRODUCER),
    "account-full": ReasonText(
        "account",
        "the numbers of this account are used up: of its decisions, balance changes, grants or credits",
        _OPERATOR,
    ),
    "parked-full": ReasonText("first-plan", "too many events of this account wait for its first plan", _BILLING),
    "parked-too-long": ReasonText("first-plan", "the account's first plan did not come in time", _BILLING),
    "refused-by-database": ReasonText("service", "the database refuses the record", _OPERATOR),
    "undecidable": ReasonText("service", "the rules themselves failed on it", "a developer of the service"),
}
"""Every reason of a dead letter."""


def reasons_of(*kinds: ReasonKind) -> dict[DeadLetterReason, str]:
    """The reasons of these kinds, and their meanings."""
    return {reason: text.meaning for reason, text in REASONS.items() if text.kind in kinds}


PREFIX: Final = "credit_dead_letter_"

TOPIC_HEADER: Final = PREFIX + "topic"
PARTITION_HEADER: Final = PREFIX + "partition"
OFFSET_HEADER: Final = PREFIX + "offset"
REASON_HEADER: Final = PREFIX + "reason"
DETAIL_HEADER: Final = PREFIX + "detail"
TIME_HEADER: Final = PREFIX + "time"

# A batch that holds too much to be unpacked is one dead letter for all its offsets: its value is the batch as Kafka
# keeps it, its offset the first of them, and this the one behind the last.
UNTIL_HEADER: Final = PREFIX + "until"

# A key or a value above its limit is not published: these stand for it. All of a record stays below Kafka's own limit.
PUBLISHED_KEY_BYTES_MAX: Final = 64 * 1024
KEY_BYTES_HEADER: Final = PREFIX + "key_bytes"
KEY_SHA256_HEADER: Final = PREFIX + "key_sha256"
PUBLISHED_VALUE_BYTES_MAX: Final = 512 * 1024
VALUE_BYTES_HEADER: Final = PREFIX + "value_bytes"
VALUE_SHA256_HEADER: Final = PREFIX + "value_sha256"
# Of original headers that are left out: size and hash of the JSON list of [name, base64 or null] that is kept of them.
HEADERS_BYTES_HEADER: Final = PREFIX + "headers_bytes"
HEADERS_SHA256_HEADER: Final = PREFIX + "headers_sha256"
