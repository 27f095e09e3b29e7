-- migrate:up

-- New tables, and rights: nothing that is there is read or rewritten. A grant waits for nobody's rows, but for a lock.
SET LOCAL lock_timeout = '5s';

-- Rows of the outbox that Kafka refuses, and those that wait behind them: later events of the same account. A person
-- retries or drops the refused one; then they go. They keep their numbers, and with these their order.
CREATE TABLE credits.outbox_set_aside (
    outbox_id bigint PRIMARY KEY,
    topic text NOT NULL,
    key bytea,
    event_id text,
    event_time timestamptz,
    payload bytea,
    dead_letter_id bigint,
    trace text,
    -- What Kafka said; null: it waits behind another one.
    cause text CHECK (length(cause) BETWEEN 1 AND 200),
    set_aside_at timestamptz NOT NULL,
    CONSTRAINT letters_wait_behind_none CHECK (dead_letter_id IS NULL OR cause IS NOT NULL)
);
-- Keys of dead letters may be of any size: no index takes them, and they hold up nobody.
CREATE INDEX outbox_set_aside_accounts ON credits.outbox_set_aside (key) WHERE dead_letter_id IS NULL;
CREATE INDEX outbox_set_aside_refused ON credits.outbox_set_aside (outbox_id) WHERE cause IS NOT NULL;
ALTER TABLE credits.outbox_set_aside OWNER TO credits_owner;

-- What a person decided that nobody is to be told. No row is ever deleted or changed.
CREATE TABLE credits.outbox_dropped (
    outbox_id bigint PRIMARY KEY,
    topic text NOT NULL,
    -- Of an event; a dead letter is kept in its own table.
    key bytea,
    event_id text,
    dead_letter_id bigint,
    cause text NOT NULL,
    set_aside_at timestamptz NOT NULL,
    dropped_at timestamptz NOT NULL,
    operator text NOT NULL CHECK (length(operator) BETWEEN 1 AND 200),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000)
);
CREATE INDEX outbox_dropped_events ON credits.outbox_dropped (event_id) WHERE event_id IS NOT NULL;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credits.outbox_dropped
    FOR EACH STATEMENT EXECUTE FUNCTION credits.refuse_change_of_history();
ALTER TABLE credits.outbox_dropped OWNER TO credits_owner;

-- The relay sets aside; the service, which people's commands are, lets go. What comes back has its old number.
GRANT SELECT, INSERT ON credits.outbox_set_aside TO credits_relay;
GRANT SELECT, DELETE, UPDATE (key) ON credits.outbox_set_aside TO credits_service;
GRANT SELECT, INSERT ON credits.outbox_dropped TO credits_service;
GRANT SELECT ON credits.outbox_set_aside, credits.outbox_dropped TO credits_reader;
GRANT INSERT (outbox_id) ON credits.outbox TO credits_service;

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
