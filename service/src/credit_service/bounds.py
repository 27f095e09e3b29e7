"""The internal bounds of the service on work and memory: queues, batches, claims, buffers, pages.

Every layer reads them as `bounds.NAME` at the time of use, never as a copy, so that a test can set each of them. This
module imports nothing.

Other limits stay where they are used: time-outs and periods; limits that are part of a contract or appear in an answer
(characters of an operator's name, bytes of a row of `credits open`, entries of a page of the HTTP API, bytes of a
request's head, letters that a command takes by number); numbers of attempts; how much of a long text a command or a log
shows; sizes of caches of pure functions; and the frequency of Python's garbage collection.
"""

# --- One account ---

HISTORY_MAX = 32
"""Reports kept of one prospect: its row is read and written whole. Repeats are forgotten first, then ended stays.

The smallest useful value is 7: a stay without an end needs so many, and keeps them under any bound.
"""

PARKED_MAX = 10_000
"""Parked events of one account: an account that never gets a plan must not fill the table."""

ACCOUNT_NUMBERS_MAX = 2**31 - 1 - 10_000_000
"""Decisions, balance changes or grants after which an account is full. The rest of the columns' range is left for one
transaction, with all its parked events and due timers, which is never refused midway."""

ACCOUNT_CREDITS_MAX = 2**53 - 1 - 10**13
"""Credits after which an account is full. Readers of JSON may not know whole numbers beyond 2^53 - 1; the rest of that
range is left for one transaction, as above."""

# --- One transaction ---

TIMERS_PER_BATCH_MAX = 2_000
"""Renewals of months in one transaction: each is a decision with entries, and the transaction holds locks."""

TIMERS_PER_ACCOUNT_MAX = 60
"""Renewals of months of one account in one transaction: the other accounts of the batch wait for it."""

UNPARKED_PER_ACCOUNT_MAX = 1_000
"""Parked events of one account that one transaction loads and decides."""

UNPARKED_PER_BATCH_MAX = 10_000
"""Parked events that one transaction loads, shared by its accounts, each of which gets at least one."""

ACCOUNTS_PER_SWEEP_MAX = 200
"""Accounts that one sweep wakes: a batch that arrives during the sweep waits for it."""

SET_BACK_ACCOUNTS_MAX = 10_000
"""Accounts with failing timers that a lane remembers: sweeps skip them, so they block no other account."""

EXPIRED_PER_TRANSACTION_MAX = 500
"""Expired parked events that one transaction turns into dead letters."""

PROCESSED_AT_ONCE = 500
"""Messages that a repair decides in one transaction."""

# --- From Kafka ---

BATCH_RECORDS_MAX = 5_000
"""Records of a batch, by default (`CREDITS_BATCH_RECORDS_MAX`): all are in memory, and their accounts are locked."""

BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Bytes after which a batch takes no further record."""

BUFFERED_BYTES_MAX = 40 * 1024 * 1024
"""Undecided bytes in memory, of all lanes; a partition over its share is not fetched."""

JUDGED_MESSAGES = 10_000
"""The last messages of a topic that are judged: `BAD_OF_JUDGED_MAX` bad ones among them pause the topic."""

BAD_OF_JUDGED_MAX = 9_000
"""Unreadable or refused messages among the last `JUDGED_MESSAGES` that pause their topic."""

LANES = 2
"""Batches at the same time: one is computed while the other waits for the ledger."""

POLL_RECORDS_MAX = 4_000
"""Records that one poll returns."""

POLL_BYTES_MAX = 16 * 1024 * 1024
"""Bytes, unpacked, after which a poll takes no further record."""

BATCH_UNPACKED_BYTES_MAX = 64 * 1024 * 1024
"""Unpacked bytes of a producer's batch; the records of a larger batch are not read."""

FETCH_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of a broker's answer to one fetch."""

FETCH_BYTES_MAX_PER_PARTITION = 256 * 1024
"""Bytes of one partition in such an answer: the client holds so many besides the buffers."""

RANGE_FETCH_BYTES_MAX = 512 * 1024
"""Bytes of one partition in the answer to a fetch of a command that reads ranges."""

REPLAY_BATCH_RECORDS_MAX = 2_000
"""Records that a replay decides in one transaction: fewer than a live batch, which must not wait long."""

REPLAY_BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Bytes after which a batch of a replay takes no further record."""

REPLAY_BUFFERED_BYTES_MAX = 40 * 1024 * 1024
"""Bytes that a replay has read but not decided."""

# --- To Kafka ---

CLAIM_ROWS_MAX = 8_000
"""Rows of the outbox that the relay publishes in one transaction of Kafka."""

CLAIM_BYTES_MAX = 8 * 1024 * 1024
"""Bytes after which such a claim takes no further row."""

PUBLISH_BATCH_BYTES_MAX = 512 * 1024
"""Bytes of a batch of the relay's producer for one partition."""

ORIGINAL_HEADERS_BYTES_MAX = 64 * 1024
"""Published bytes of a dead letter's original headers: a broker limits the size of a record."""

LETTER_BYTES_PER_DAY = 250_000_000
"""Kept bytes of a topic's dead letters of a day, by default (`CREDITS_DEAD_LETTER_BYTES_PER_DAY`)."""

RECORD_BYTES_MAX = 12 * 1024 * 1024
"""Kept bytes of one record: of a larger record only the hash is kept, and Kafka keeps the bytes."""

LEFT_OUT_KEY_BYTES_MAX = 1_024
"""Bytes of the key of a dead letter that is kept without its bytes: more than any account id has."""

LETTER_DETAIL_CHARACTERS_MAX = 1_000
"""Kept characters of a dead letter's detail: an error's text may have any length."""

# --- Dead letters and refund requests ---

LETTER_IDS_READ_MAX = 1_000
"""Waiting letters that are read, discarded or erased at a time."""

LETTERS_PER_BATCH_MAX = 100
"""Letters that one transaction retries: a batch that fails is retried in halves."""

LETTER_BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Bytes after which a batch of letters takes no further one."""

LETTERS_ORDERED_MAX = 100_000
"""Letters that are sorted by occurrence at a time; further letters follow when these are done."""

LETTER_UNPACKED_BYTES_MAX = 1024 * 1024 * 1024
"""Unpacked bytes of a whole batch that is one dead letter, during its retry: they are in a file."""

LETTER_BLOCK_ROWS = 20
"""Letters, each with all its bytes, that a cursor fetches at a time."""

LETTER_LINES_BLOCK_ROWS = 500
"""Lines of a list of letters that a cursor fetches at a time."""

REQUESTS_PER_PAGE = 500
"""Waiting refund requests that a command reads at a time."""

REQUEST_LINES_BLOCK_ROWS = 500
"""Lines of a list of refund requests that a cursor fetches at a time."""

# --- Opening a customer base ---

OPENING_ROWS_PER_BATCH_MAX = 2_000
"""Rows that one transaction opens: a batch that the ledger refuses is retried in halves."""

# --- Reading the ledger ---

EXPORT_BLOCK_ROWS = 1_000
"""Rows that an export, or another long read, fetches at a time."""

EXPLAIN_BLOCK_LINES = 500
"""Lines of an explanation that are written together."""

DECISIONS_OF_A_PROSPECT_MAX = 1_000
"""Decisions on one prospect that an explanation reads; it says if there are more."""

ENTRIES_OF_DECISIONS_MAX = 10_000
"""Entries of those decisions that it reads."""

LETTERS_LOOKED_THROUGH_MAX = 10_000
"""Dead letters of one account that an explanation searches; it says if there are more."""

EXPLAIN_LETTERS_BLOCK_ROWS = 20
"""Dead letters, each with all its bytes, that it fetches at a time."""

LETTERS_OF_A_PLACE_MAX = 100
"""Dead letters of one place that are read: a message has one, and one more after each restore."""

COUNTED_MAX = 100_000
"""Waiting rows of a kind up to which they are counted: counting must not take long."""

OLDEST_LOOKED_AT_MAX = 100
"""Rows at the head of the outbox that are searched for the oldest: they are nearly in order."""

DOCTOR_ROWS_MAX = 100
"""Gaps, unfinished operations, and accounts being opened that the doctor reads."""

# --- Reconciliation ---

ACCOUNTS_READ_MAX = 2_000
"""Accounts that an audit reads at a time."""

DECISIONS_READ_MAX = 20_000
"""Decisions after which a block of accounts takes no further account: their histories are in memory."""

AUDIT_BLOCK_ROWS = 5_000
"""Rows that a cursor of an audit fetches at a time."""

ACCOUNT_DECISIONS_MAX = 1_000_000
"""Decisions of an account above which it is not recomputed, since it would not fit into memory."""

LOOKED_AT_MAX = 200_000
"""Messages of differing accounts that are checked one by one, for each partition number."""

LOOK_UP_MAX = 5_000
"""Such messages that are looked up in the ledger at a time."""

FOUND_TRIES_MAX = 20
"""Gaps of an account, and messages for each, that are matched by trial: each trial is a recomputation."""

TO_MEND_MAX = 10_000
"""Findings that one run repairs; the next run finds the rest again."""

# --- Connections, HTTP, traces and logs ---

POOL_CONNECTIONS_MAX = 6
"""Connections of a pool to the database."""

READ_CONNECTIONS_MAX = 2
"""Connections for reads over HTTP: a separate pool, so that reads never delay decisions."""

PROBE_CONNECTIONS_MAX = 1
"""Connections of the probes."""

WATCH_CONNECTIONS_MAX = 1
"""Connections of the watch."""

QUERIES_PER_SESSION_MAX = 50_000
"""Statements after which a session is replaced, as in asyncpg's pools: the memory of a session only grows."""

HTTP_CONNECTIONS_MAX = 500
"""Connections that the HTTP server keeps open: each is an open file of the process, even without requests."""

HTTP_HEAD_BYTES_MAX = 32 * 1024
"""Bytes of a request's head in memory: more than `http.request_limits` allows, so that it can answer a refusal."""

CONCURRENT_READS_MAX = 100
"""Requests of the read API that read the ledger at the same time; further requests are answered 503."""

CONCURRENT_LONG_ANSWERS_MAX = 50
"""Long answers (the AsyncAPI page and its files) at the same time; further requests are answered 503."""

PIECE_BYTES_MAX = 16 * 1024
"""Bytes of a long answer that are sent at a time."""

UNSENT_BYTES_MAX = 64 * 1024
"""Unsent bytes of a connection after which the server sends nothing more until the client reads."""

SPANS_WAITING_MAX = 4_096
"""Spans that wait to be sent; further spans are dropped."""

SPANS_SENT_MAX = 512
"""Spans that are sent at a time."""

LINKS_MAX = 64
"""Traces that a batch or a publication links to, and events of a batch with their own span."""

LOG_LINES_KEPT_MAX = 200
"""Log messages of libraries that are remembered, to log repeats rarely; beyond that, all are forgotten."""
