"""The headers that a dead letter carries beside the original ones."""

from typing import Final

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
