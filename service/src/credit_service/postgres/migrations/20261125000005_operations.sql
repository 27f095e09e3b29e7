-- migrate:up

-- What people do to the ledger and around it, and how it ended.

ALTER TYPE credits.event_type ADD VALUE 'adjustment';
ALTER TYPE credits.outcome ADD VALUE 'adjusted';

-- Credits that a person gave or took, by the decision of that position.
CREATE TABLE credits.adjustments (
    amount bigint NOT NULL CHECK (amount <> 0),
    -- Of what was given; null: it does not expire.
    expires_at timestamptz,
    account_no integer NOT NULL,
    position integer NOT NULL,
    operator text NOT NULL CHECK (length(operator) BETWEEN 1 AND 200),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    PRIMARY KEY (account_no, position)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credits.adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION credits.refuse_change_of_history();

-- The columns are new, so that there is nothing to check, and the table is small.
-- squawk-ignore-file constraint-missing-not-valid, require-concurrent-index-creation

-- A dead letter waits until a retry was taken, or a person discarded it. No row is ever deleted.
CREATE TYPE credits.dead_letter_status AS ENUM ('waiting', 'resolved', 'discarded');
ALTER TABLE credits.dead_letters
    ADD COLUMN status credits.dead_letter_status NOT NULL DEFAULT 'waiting',
    -- How it ended: the outcome of its decision, 'duplicate', or 'parked'.
    ADD COLUMN outcome text,
    ADD COLUMN ended_at timestamptz,
    -- Who retried it with success or discarded it, and why.
    ADD COLUMN operator text,
    ADD COLUMN comment text,
    -- Retries so far; of the last one that failed, what was wrong.
    ADD COLUMN retries integer NOT NULL DEFAULT 0,
    ADD COLUMN retried_at timestamptz,
    ADD COLUMN retry_reason text,
    ADD COLUMN retry_detail text,
    -- Key, value and headers are gone, as this person wanted.
    ADD COLUMN erased_at timestamptz,
    ADD COLUMN erased_by text;
ALTER TABLE credits.dead_letters
    ADD CONSTRAINT end_is_whole CHECK (
        (status = 'waiting') = (ended_at IS NULL)
        AND (status = 'waiting') = (operator IS NULL)
        AND (status = 'resolved') = (outcome IS NOT NULL)
    ),
    ADD CONSTRAINT words_are_bounded CHECK (
        length(operator) BETWEEN 1 AND 200 AND length(comment) BETWEEN 1 AND 1000
        AND length(erased_by) BETWEEN 1 AND 200 AND length(retry_detail) <= 1000
    ),
    ADD CONSTRAINT erased_is_empty CHECK (
        (erased_at IS NULL) = (erased_by IS NULL)
        AND (erased_at IS NULL OR (key IS NULL AND value IS NULL))
    );
CREATE INDEX dead_letters_waiting ON credits.dead_letters (topic, reason, dead_letter_id) WHERE status = 'waiting';

CREATE FUNCTION credits.refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% keeps its rows', tg_table_name USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER kept_for_ever BEFORE DELETE OR TRUNCATE ON credits.dead_letters
    FOR EACH STATEMENT EXECUTE FUNCTION credits.refuse_removal();

-- What people ran on many things at once: who, what, when, why, and with what result. One without an end was killed.
CREATE TABLE credits.operations (
    operation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    kind text NOT NULL,
    operator text NOT NULL CHECK (length(operator) BETWEEN 1 AND 200),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    arguments json NOT NULL,
    -- 'done', 'interrupted' or 'failed', with the counts.
    ended_as text CHECK (ended_as IN ('done', 'interrupted', 'failed')),
    result json,
    CONSTRAINT end_is_whole CHECK (
        (ended_at IS NULL) = (ended_as IS NULL) AND (ended_at IS NULL) = (result IS NULL)
    )
);

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
