"""The headers that a dead letter carries beside the original ones."""

from typing import Final

PREFIX: Final = "credit_dead_letter_"

TOPIC_HEADER: Final = PREFIX + "topic"
PARTITION_HEADER: Final = PREFIX + "partition"
OFFSET_HEADER: Final = PREFIX + "offset"
REASON_HEADER: Final = PREFIX + "reason"
DETAIL_HEADER: Final = PREFIX + "detail"
TIME_HEADER: Final = PREFIX + "time"

# A value above the limit is not published: these two stand for it.
PUBLISHED_VALUE_BYTES_MAX: Final = 512 * 1024
VALUE_BYTES_HEADER: Final = PREFIX + "value_bytes"
VALUE_SHA256_HEADER: Final = PREFIX + "value_sha256"
