-- migrate:up

CREATE SCHEMA IF NOT EXISTS credits;

-- The only clock of the service; tests replace it to shift time. STABLE, since one reading a statement will do, and
-- so that it may stand in an index condition.
CREATE FUNCTION credits.ledger_now() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN clock_timestamp();

CREATE TYPE credits.event_type AS ENUM (
    'prospect-generated', 'prospect-exported', 'email-bounced', 'plan-changed', 'renewal', 'expiry'
);
CREATE TYPE credits.outcome AS ENUM (
    'charged', 'free', 'declined', 'refunded', 'forfeited', 'awaiting-charge', 'no-effect',
    'plan-in-force', 'plan-pending', 'plan-superseded', 'renewed', 'expired'
);
CREATE TYPE credits.change_reason AS ENUM (
    'charge', 'refund', 'renewal', 'plan_change', 'purchase', 'lapse', 'adjustment', 'opening'
);
CREATE TYPE credits.grant_origin AS ENUM ('plan', 'purchase', 'refund', 'adjustment', 'opening');
CREATE TYPE credits.prospect_origin AS ENUM ('generated', 'exported', 'imported');

-- One row an account, updated once a batch: narrow, and with room on its page for the next version.
CREATE TABLE credits.accounts (
    account_id text COLLATE "C" NOT NULL,
    partition_hash integer NOT NULL CHECK (partition_hash >= 0),
    -- What the open grants hold, also beneath an unlimited plan.
    balance bigint NOT NULL DEFAULT 0,
    unlimited boolean NOT NULL DEFAULT false,
    -- The last number given, of balance changes, of decisions and of grants.
    sequence bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    position bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    last_grant_id integer NOT NULL DEFAULT 0 CHECK (last_grant_id >= 0),
    -- The decision that brought the plan in force; 0 before the first.
    plan_position bigint NOT NULL DEFAULT 0 CHECK (plan_position BETWEEN 0 AND position),
    anchor_at timestamptz,
    time_zone text,
    period_number integer,
    period_starts_at timestamptz,
    period_ends_at timestamptz,
    granted_in_period bigint NOT NULL DEFAULT 0 CHECK (granted_in_period >= 0),
    declined_in_period integer NOT NULL DEFAULT 0 CHECK (declined_in_period >= 0),
    parked integer NOT NULL DEFAULT 0 CHECK (parked BETWEEN 0 AND 10000),
    next_timer_at timestamptz,
    PRIMARY KEY (account_id),
    CONSTRAINT never_below_zero CHECK (balance >= 0),
    CONSTRAINT period_is_whole CHECK (
        (anchor_at IS NULL AND time_zone IS NULL AND period_number IS NULL AND period_starts_at IS NULL
            AND period_ends_at IS NULL AND next_timer_at IS NULL)
        OR (anchor_at IS NOT NULL AND time_zone IS NOT NULL AND period_number IS NOT NULL
            AND period_starts_at < period_ends_at AND next_timer_at <= period_ends_at)
    )
) WITH (fillfactor = 50);

CREATE INDEX accounts_by_timer ON credits.accounts (next_timer_at) WHERE next_timer_at IS NOT NULL;
CREATE INDEX accounts_with_parked_events ON credits.accounts (account_id) WHERE parked > 0;

-- The recorded outcome of every event: one an idempotency key, numbered without gaps within its account.
CREATE TABLE credits.decisions (
    account_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL CHECK (position > 0),
    key bytea NOT NULL CHECK (length(key) = 16),
    content bytea NOT NULL CHECK (length(content) = 16),
    content_version smallint NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    type credits.event_type NOT NULL,
    outcome credits.outcome NOT NULL,
    occurred_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL,
    -- The place it was read from, in the topic named like its type; none for the service's own timers.
    partition integer,
    "offset" bigint,
    prospect_id text COLLATE "C",
    -- Of a decline: which one it was in its period, and that period's end.
    declined_in_period integer,
    period_ends_at timestamptz,
    note text,
    PRIMARY KEY (account_id, position),
    CONSTRAINT one_decision_per_key UNIQUE (account_id, key),
    CONSTRAINT place_is_whole CHECK ((partition IS NULL) = ("offset" IS NULL)),
    CONSTRAINT decline_is_counted CHECK ((outcome = 'declined') = (declined_in_period IS NOT NULL))
);

CREATE TABLE credits.plans (
    account_id text COLLATE "C" NOT NULL,
    -- The decision on the plan-changed event that brought it.
    position bigint NOT NULL,
    plan_id text NOT NULL,
    monthly_credits bigint CHECK (monthly_credits BETWEEN 0 AND 1000000000),
    seats bigint,
    email_accounts bigint,
    effective_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- Waits for effective_at; the only column that ever changes.
    pending boolean NOT NULL,
    PRIMARY KEY (account_id, position)
);
CREATE INDEX plans_pending ON credits.plans (account_id) WHERE pending;

CREATE TABLE credits.grants (
    account_id text COLLATE "C" NOT NULL,
    grant_id integer NOT NULL CHECK (grant_id > 0),
    origin credits.grant_origin NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    remaining bigint NOT NULL,
    effective_at timestamptz NOT NULL,
    -- Null: does not expire.
    expires_at timestamptz,
    -- Open until its expiry has been decided.
    open boolean NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (account_id, grant_id),
    CONSTRAINT remaining_within_amount CHECK (remaining BETWEEN 0 AND amount),
    CONSTRAINT closed_is_empty CHECK (open OR remaining = 0)
) WITH (fillfactor = 70);
CREATE INDEX grants_open ON credits.grants (account_id) WHERE open;

-- One row per grant that a balance change touched; a change that touched none has one row without a grant.
CREATE TABLE credits.entries (
    account_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    line integer NOT NULL CHECK (line >= 0),
    grant_id integer,
    amount bigint NOT NULL,
    -- Of the whole change, as published; null: unlimited.
    previous_balance bigint CHECK (previous_balance >= 0),
    balance bigint CHECK (balance >= 0),
    reason credits.change_reason NOT NULL,
    -- The decision that caused it.
    position bigint NOT NULL,
    -- Of a refund: the sequence of the charge that it gives back.
    refunds_sequence bigint,
    period_ends_at timestamptz,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, sequence, line),
    CONSTRAINT amount_has_its_grant CHECK ((grant_id IS NULL) = (amount = 0)),
    CONSTRAINT refund_names_its_charge CHECK ((reason = 'refund') = (refunds_sequence IS NOT NULL)),
    CONSTRAINT amount_fits_its_reason CHECK (
        CASE reason
            WHEN 'charge' THEN amount IN (-1, 0)
            WHEN 'refund' THEN amount IN (0, 1)
            WHEN 'lapse' THEN amount < 0
            WHEN 'adjustment' THEN true
            ELSE amount >= 0
        END
    )
);
CREATE UNIQUE INDEX one_refund_per_charge ON credits.entries (account_id, refunds_sequence)
    WHERE refunds_sequence IS NOT NULL;

-- What is on the account, with the one charge that may be alive for it, or the bounce that came before it.
CREATE TABLE credits.prospects (
    account_id text COLLATE "C" NOT NULL,
    prospect_id text COLLATE "C" NOT NULL,
    -- Null: not on the account, only a bounce is known.
    origin credits.prospect_origin,
    charge_sequence bigint,
    -- Null with a charge: made on an unlimited plan.
    charge_grant_id integer,
    refund_sequence bigint,
    -- The decision on the first bounce that found no charge.
    bounce_position bigint,
    deleted_at timestamptz,
    PRIMARY KEY (account_id, prospect_id),
    CONSTRAINT refund_needs_a_charge CHECK (refund_sequence IS NULL OR charge_sequence < refund_sequence),
    CONSTRAINT charge_means_on_account CHECK (charge_sequence IS NULL OR origin IS NOT NULL)
) WITH (fillfactor = 85);

CREATE FUNCTION credits.refuse_second_charge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a charge may be replaced only after its prospect was deleted'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'one_charge_alive_per_prospect';
END $$;
CREATE TRIGGER one_charge_alive_per_prospect BEFORE UPDATE ON credits.prospects
    FOR EACH ROW
    WHEN (old.charge_sequence IS NOT NULL AND old.deleted_at IS NULL
        AND new.charge_sequence IS DISTINCT FROM old.charge_sequence)
    EXECUTE FUNCTION credits.refuse_second_charge();

CREATE FUNCTION credits.refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credits.entries
    FOR EACH STATEMENT EXECUTE FUNCTION credits.refuse_change_of_history();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credits.decisions
    FOR EACH STATEMENT EXECUTE FUNCTION credits.refuse_change_of_history();

-- Events of accounts that have no plan yet: the known fields only, encoded anew.
CREATE TABLE credits.parked_events (
    account_id text COLLATE "C" NOT NULL,
    key bytea NOT NULL CHECK (length(key) = 16),
    content bytea NOT NULL CHECK (length(content) = 16),
    source text NOT NULL,
    id text NOT NULL,
    type credits.event_type NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- Ties of occurred_at are decided by the rank of the type, then source and id.
    type_rank smallint NOT NULL,
    data bytea NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    parked_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, key)
);
CREATE INDEX parked_events_in_order ON credits.parked_events
    (account_id, occurred_at, type_rank, source COLLATE "C", id COLLATE "C");
CREATE INDEX parked_events_by_age ON credits.parked_events (parked_at);

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
