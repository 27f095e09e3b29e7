-- migrate:up

-- Where the service goes on reading. These offsets, not Kafka's, decide.
CREATE TABLE credits.partition_offsets (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Offsets that could not be read any more, or that lie beyond the log's end: what may have been missed.
CREATE TABLE credits.offset_gaps (
    gap_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    expected_offset bigint NOT NULL,
    resumed_offset bigint NOT NULL,
    log_end_offset bigint NOT NULL,
    noticed_at timestamptz NOT NULL,
    UNIQUE (topic, partition, expected_offset, resumed_offset)
);

CREATE TABLE credits.paused_topics (
    topic text COLLATE "C" PRIMARY KEY,
    paused_at timestamptz NOT NULL,
    reason text NOT NULL
);

-- A message that could not be read or decided, with everything needed to try it again.
CREATE TABLE credits.dead_letters (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 16),
    reason text NOT NULL,
    detail text NOT NULL CHECK (length(detail) <= 1000),
    account_id text,
    key bytea,
    value bytea,
    -- An array of [name, base64 or null]. Not jsonb, which refuses names that Kafka takes.
    headers json NOT NULL,
    -- Kafka's own time of the record, in milliseconds.
    timestamp_ms bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT one_dead_letter_per_record UNIQUE (topic, partition, "offset", digest)
);

-- What waits to be published. Rows are deleted once Kafka has them, never marked.
CREATE TABLE credits.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key bytea,
    event_id text,
    event_time timestamptz,
    payload bytea CHECK (length(payload) <= 900000),
    dead_letter_id bigint,
    CONSTRAINT event_or_dead_letter CHECK (
        (dead_letter_id IS NULL AND key IS NOT NULL AND event_id IS NOT NULL AND event_time IS NOT NULL
            AND payload IS NOT NULL)
        OR (dead_letter_id IS NOT NULL AND event_id IS NULL AND payload IS NULL)
    )
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000);

-- The outbox rows that the relay's current Kafka transaction carries; at most one row.
CREATE TABLE credits.outbox_claim (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    claim_id uuid NOT NULL,
    outbox_ids bigint[] NOT NULL,
    claimed_at timestamptz NOT NULL
);

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
