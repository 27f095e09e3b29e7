"""Every internal bound of the service on an amount of work or memory: queues, batches, claims, buffers, pages.

All layers read them here, as `bounds.NAME` when they need one and never as a copy, so that a test can set any of them.
This module imports nothing.

Elsewhere stay: time-outs and periods; limits that are part of a contract or of the words of an answer (characters of an
operator's name, bytes of a line that is opened, entries of a page of the HTTP API, bytes of a request's head that the
guard refuses in words, letters that a command takes by number); how many attempts are made; how much a command or a log
shows of something long; the sizes of caches of pure functions; and how seldom Python looks for cycles.
"""

# --- One account ---

HISTORY_MAX = 32
"""Reports on one prospect that are kept: its row is read and written whole. Repeats go first, then stays that are over.

The smallest that makes sense is 7: so many are needed of a stay without an end, which keeps them under any bound.
"""

PARKED_MAX = 10_000
"""Events of one account that may wait for its first plan: an account that never gets one must not fill the table."""

ACCOUNT_NUMBERS_MAX = 2**31 - 1 - 10_000_000
"""Decisions, balance changes or grants of one account: it is full then. The rest of what its columns hold is for what
one transaction may bring about of it, all that waits and all that is due included, which is never refused midway."""

ACCOUNT_CREDITS_MAX = 2**53 - 1 - 10**13
"""Credits that an account holds: it is full then. Readers of JSON may know no whole numbers beyond 2^53 - 1; the rest
is as above."""

# --- One transaction ---

TIMERS_PER_BATCH_MAX = 2_000
"""Turns of months that one transaction brings about, in all: each is a decision with entries, and locks are held."""

TIMERS_PER_ACCOUNT_MAX = 60
"""Turns of months that one transaction brings about for one account: others of the batch wait for it."""

UNPARKED_PER_ACCOUNT_MAX = 1_000
"""Parked events of one account that one transaction loads and decides."""

UNPARKED_PER_BATCH_MAX = 10_000
"""Parked events that one transaction loads, shared by its accounts, each of which gets at least one."""

ACCOUNTS_PER_SWEEP_MAX = 200
"""Accounts that one sweep wakes: a batch that arrives meanwhile waits for it."""

SET_BACK_ACCOUNTS_MAX = 10_000
"""Accounts whose timers fail that a lane remembers: each sweep goes past them, and they stand in front of nobody."""

EXPIRED_PER_TRANSACTION_MAX = 500
"""Parked events that one transaction makes dead letters of."""

PROCESSED_AT_ONCE = 500
"""Messages that a repair decides in one transaction."""

# --- From Kafka ---

BATCH_RECORDS_MAX = 5_000
"""Records of a batch, unless `CREDITS_BATCH_RECORDS_MAX` says otherwise: all of them are in memory, and locked."""

BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Bytes after which a batch takes no further record."""

BUFFERED_BYTES_MAX = 40 * 1024 * 1024
"""Bytes that wait in memory to be decided, of all lanes; a partition over its share is not fetched."""

JUDGED_MESSAGES = 10_000
"""The last messages of a topic that are looked at: `BAD_OF_JUDGED_MAX` of them that are bad pause it."""

BAD_OF_JUDGED_MAX = 9_000
"""Messages, unreadable or refused, among the last `JUDGED_MESSAGES` that pause their topic. Their numbers are kept."""

LANES = 2
"""Batches in hand at a time: one is computed while the other waits for the ledger."""

POLL_RECORDS_MAX = 4_000
"""Records that one poll hands over."""

POLL_BYTES_MAX = 16 * 1024 * 1024
"""Bytes, unpacked, after which a poll takes no further record."""

BATCH_UNPACKED_BYTES_MAX = 64 * 1024 * 1024
"""Bytes that a producer's batch may hold unpacked; of one that holds more, the records are not read."""

FETCH_BYTES_MAX = 16 * 1024 * 1024
"""Bytes that a broker answers one fetch with."""

FETCH_BYTES_MAX_PER_PARTITION = 256 * 1024
"""Bytes of one partition in such an answer: so many lie in the client beside the buffers."""

RANGE_FETCH_BYTES_MAX = 512 * 1024
"""Bytes of one partition in the answer to a fetch of whoever reads ranges."""

REPLAY_BATCH_RECORDS_MAX = 2_000
"""Records that a replay decides in one transaction: smaller than live, which it must not hold up."""

REPLAY_BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Bytes after which a batch of a replay takes no further record."""

REPLAY_BUFFERED_BYTES_MAX = 40 * 1024 * 1024
"""Bytes that a replay has read and not decided."""

# --- To Kafka ---

CLAIM_ROWS_MAX = 8_000
"""Rows of the outbox that the relay publishes in one transaction of Kafka."""

CLAIM_BYTES_MAX = 8 * 1024 * 1024
"""Bytes after which such a claim takes no further row."""

PUBLISH_BATCH_BYTES_MAX = 512 * 1024
"""Bytes of a batch that the relay's producer fills for one partition."""

ORIGINAL_HEADERS_BYTES_MAX = 64 * 1024
"""Bytes of a dead letter's original headers that are published: a broker takes a record only up to a size."""

LETTER_BYTES_PER_DAY = 250_000_000
"""Bytes of a topic's dead letters that are kept of a day, unless `CREDITS_DEAD_LETTER_BYTES_PER_DAY` says otherwise."""

RECORD_BYTES_MAX = 12 * 1024 * 1024
"""Bytes of one record that are held: of a larger one its hash is, and the bytes are left to Kafka."""

LEFT_OUT_KEY_BYTES_MAX = 1_024
"""Bytes of the key of a dead letter that is kept without its bytes: more than any account's id takes."""

LETTER_DETAIL_CHARACTERS_MAX = 1_000
"""Characters of a dead letter's detail that are kept: an error may say any number."""

# --- The desk of dead letters, and that of refunds ---

LETTER_IDS_READ_MAX = 1_000
"""Numbers of waiting letters that are read, and those letters discarded or erased, at a time."""

LETTERS_PER_BATCH_MAX = 100
"""Letters that one transaction retries: what fails in it is tried again in halves."""

LETTER_BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Bytes after which a batch of letters takes no further one."""

LETTERS_ORDERED_MAX = 100_000
"""Letters that are brought in order of occurrence at a time; of more, the next ones after these are done."""

LETTER_UNPACKED_BYTES_MAX = 1024 * 1024 * 1024
"""Bytes that a batch, kept whole as a dead letter, may come to when it is retried: they lie in a file meanwhile."""

LETTER_BLOCK_ROWS = 20
"""Letters, each with all its bytes, that a cursor fetches at a time."""

LETTER_LINES_BLOCK_ROWS = 500
"""Lines of a list of letters that a cursor fetches at a time."""

REQUESTS_PER_PAGE = 500
"""Waiting refund requests that a round reads at a time."""

REQUEST_LINES_BLOCK_ROWS = 500
"""Lines of a list of refund requests that a cursor fetches at a time."""

# --- Customers from elsewhere ---

OPENING_ROWS_PER_BATCH_MAX = 2_000
"""Rows that one transaction opens: what the ledger refuses is tried again in halves."""

# --- Reading the ledger ---

EXPORT_BLOCK_ROWS = 1_000
"""Rows that an export, or whoever reads as long, fetches at a time."""

EXPLAIN_BLOCK_LINES = 500
"""Lines of an explanation that are laid out together: the widths of their columns are theirs."""

DECISIONS_OF_A_PROSPECT_MAX = 1_000
"""Decisions on one prospect that an explanation reads; it says so where there are more."""

ENTRIES_OF_DECISIONS_MAX = 10_000
"""Entries of those decisions that it reads."""

LETTERS_LOOKED_THROUGH_MAX = 10_000
"""Dead letters of one account that an explanation looks through; it says so where there are more."""

EXPLAIN_LETTERS_BLOCK_ROWS = 20
"""Dead letters, each with all its bytes, that it fetches at a time."""

LETTERS_OF_A_PLACE_MAX = 100
"""Dead letters of one place that are read: a message has one, or one for each time that a restore made it anew."""

COUNTED_MAX = 100_000
"""Rows that wait, of a kind, up to which they are counted: looking must never take long."""

OLDEST_LOOKED_AT_MAX = 100
"""Rows at the head of the outbox among which the oldest is sought: they are nearly in order."""

DOCTOR_ROWS_MAX = 100
"""Gaps, operations without an end, and accounts that are being opened, that the doctor reads."""

# --- Reconciliation ---

ACCOUNTS_READ_MAX = 2_000
"""Accounts that an audit reads at a time."""

DECISIONS_READ_MAX = 20_000
"""Decisions after which a block of accounts takes no further account: their histories are in memory together."""

AUDIT_BLOCK_ROWS = 5_000
"""Rows that a cursor of an audit fetches at a time."""

ACCOUNT_DECISIONS_MAX = 1_000_000
"""Decisions of an account above which it is not recomputed: it would not fit into memory."""

LOOKED_AT_MAX = 200_000
"""Messages of accounts that disagree that are looked at one by one, of each partition number."""

LOOK_UP_MAX = 5_000
"""Such messages after which the ledger is asked for what became of them."""

FOUND_TRIES_MAX = 20
"""Gaps of an account, and for each the messages, that are tried against each other: each try is a recomputation."""

TO_MEND_MAX = 10_000
"""Findings that are kept to be mended in one run; the rest is found again by the next one."""

# --- Connections, questions, and what the service says of itself ---

POOL_CONNECTIONS_MAX = 6
"""Connections of a pool to the database."""

READ_CONNECTIONS_MAX = 2
"""Connections of those who read over HTTP: of their own, so that they never wait in front of those who decide."""

PROBE_CONNECTIONS_MAX = 1
"""Connections of the probes."""

WATCH_CONNECTIONS_MAX = 1
"""Connections of the watch."""

QUERIES_PER_SESSION_MAX = 50_000
"""Statements after which a session is replaced, as asyncpg's own pools have it: a session's memory only grows."""

HTTP_CONNECTIONS_MAX = 500
"""Connections that the HTTP server keeps open: each is a file of the process, whether or not anything is asked."""

HTTP_HEAD_BYTES_MAX = 32 * 1024
"""Bytes of a request's head in memory: more than `http.request_limits` allows, so that a refusal has words."""

QUESTIONS_UNDER_WAY_MAX = 100
"""Questions that the read API asks the ledger at the same time; one more is told to come again."""

LONG_ANSWERS_UNDER_WAY_MAX = 50
"""Requests whose answers are long, the page of the topics and its files, at the same time; one more is told to come
again.
"""

PIECE_BYTES_MAX = 16 * 1024
"""Bytes of such an answer that are sent at a time."""

UNSENT_BYTES_MAX = 64 * 1024
"""Bytes that a connection's client has not taken yet, after which it gets nothing further until it takes some."""

SPANS_WAITING_MAX = 4_096
"""Spans that wait to be sent; more are dropped."""

SPANS_SENT_MAX = 512
"""Spans that are sent at a time."""

LINKS_MAX = 64
"""Traces that a batch or a publication is linked with, and events of a batch that have a span of their own."""

LOG_LINES_KEPT_MAX = 200
"""Log lines of libraries that are kept, to write repeats once in a while; beyond that, all are forgotten."""
