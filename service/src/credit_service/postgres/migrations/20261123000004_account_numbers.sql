-- migrate:up

-- The ledger's rows become small: they name their account by a number, keep ids that are UUIDs in 16 bytes, count by
-- integers, and have their columns in the order of their alignment: eight bytes, four, less, then those of varying
-- length. All tables are written anew; services of the version before cannot work meanwhile nor after, and wait.

-- An id as rows keep it: a UUID as its bytes, any other text as its UTF-8. What is 16 bytes long without being a UUID has
-- a zero before it, which no id begins with.
CREATE FUNCTION credits.packed(id text) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN uuid_send(id::uuid)
    WHEN octet_length(id) = 16 THEN '\x00'::bytea || convert_to(id, 'UTF8')
    ELSE convert_to(id, 'UTF8')
END;
CREATE FUNCTION credits.unpacked(kept bytea) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN octet_length(kept) = 16 THEN encode(kept, 'hex')::uuid::text
    WHEN substr(kept, 1, 1) = '\x00'::bytea THEN convert_from(substr(kept, 2), 'UTF8')
    ELSE convert_from(kept, 'UTF8')
END;

-- What moves away and is dropped is what this migration replaces.
-- squawk-ignore-file ban-set-schema, ban-drop-schema
CREATE SCHEMA credits_before;
ALTER TABLE credits.accounts SET SCHEMA credits_before;
ALTER TABLE credits.decisions SET SCHEMA credits_before;
ALTER TABLE credits.plans SET SCHEMA credits_before;
ALTER TABLE credits.grants SET SCHEMA credits_before;
ALTER TABLE credits.entries SET SCHEMA credits_before;
ALTER TABLE credits.prospects SET SCHEMA credits_before;
ALTER TABLE credits.purchases SET SCHEMA credits_before;
ALTER TABLE credits.refund_requests SET SCHEMA credits_before;
ALTER TABLE credits.parked_events SET SCHEMA credits_before;

-- One row an account, updated once a batch: narrow, and with room on its page for the next version.
CREATE TABLE credits.accounts (
    -- What the open grants hold, also beneath an unlimited plan.
    balance bigint NOT NULL DEFAULT 0,
    granted_in_period bigint NOT NULL DEFAULT 0 CHECK (granted_in_period >= 0),
    anchor_at timestamptz,
    period_starts_at timestamptz,
    period_ends_at timestamptz,
    next_timer_at timestamptz,
    -- Stands for the account in all other tables of the ledger. None of them has a foreign key: each row is written
    -- under the lock of its account, and the check would be a look-up for each.
    account_no integer GENERATED ALWAYS AS IDENTITY,
    partition_hash integer NOT NULL CHECK (partition_hash >= 0),
    -- The last number given, of balance changes, of decisions and of grants.
    sequence integer NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    position integer NOT NULL DEFAULT 0 CHECK (position >= 0),
    last_grant_id integer NOT NULL DEFAULT 0 CHECK (last_grant_id >= 0),
    -- The decision that brought the plan in force; 0 before the first.
    plan_position integer NOT NULL DEFAULT 0 CHECK (plan_position BETWEEN 0 AND position),
    period_number integer,
    declined_in_period integer NOT NULL DEFAULT 0 CHECK (declined_in_period >= 0),
    parked integer NOT NULL DEFAULT 0 CHECK (parked BETWEEN 0 AND 10000),
    unlimited boolean NOT NULL DEFAULT false,
    account_id text COLLATE "C" NOT NULL,
    time_zone text,
    CONSTRAINT never_below_zero CHECK (balance >= 0),
    CONSTRAINT period_is_whole CHECK (
        (anchor_at IS NULL AND time_zone IS NULL AND period_number IS NULL AND period_starts_at IS NULL
            AND period_ends_at IS NULL AND next_timer_at IS NULL)
        OR (anchor_at IS NOT NULL AND time_zone IS NOT NULL AND period_number IS NOT NULL
            AND period_starts_at < period_ends_at AND next_timer_at <= period_ends_at)
    )
) WITH (fillfactor = 50);

-- The recorded outcome of every event: one an idempotency key, numbered without gaps within its account.
CREATE TABLE credits.decisions (
    occurred_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL,
    -- The place it was read from, in the topic named like its type; none for the service's own timers.
    "offset" bigint,
    -- Of a decline: the end of its period, and which one it was in it.
    period_ends_at timestamptz,
    declined_in_period integer,
    partition integer,
    account_no integer NOT NULL,
    position integer NOT NULL CHECK (position > 0),
    type credits.event_type NOT NULL,
    outcome credits.outcome NOT NULL,
    content_version smallint NOT NULL,
    key bytea NOT NULL CHECK (length(key) = 16),
    content bytea NOT NULL CHECK (length(content) = 16),
    source text NOT NULL,
    -- Packed, as in all tables below but that of parked events.
    id bytea NOT NULL,
    prospect_id bytea,
    note text,
    CONSTRAINT place_is_whole CHECK ((partition IS NULL) = ("offset" IS NULL)),
    CONSTRAINT decline_is_counted CHECK ((outcome = 'declined') = (declined_in_period IS NOT NULL))
);

-- New accounts have one decision each. Taking that for the rule, the planner would look a decision up by its account
-- alone, and read all that a busy account has.
ALTER TABLE credits.decisions ALTER COLUMN account_no SET (n_distinct = -0.001);

CREATE TABLE credits.plans (
    monthly_credits bigint CHECK (monthly_credits BETWEEN 0 AND 1000000000),
    seats bigint,
    email_accounts bigint,
    effective_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    account_no integer NOT NULL,
    -- The decision that brought it; with that one's type, source and id, so that a plan is read without it.
    position integer NOT NULL,
    type credits.event_type NOT NULL,
    -- Waits for effective_at; the only column that ever changes, with what the plan had left out.
    pending boolean NOT NULL,
    plan_id text NOT NULL,
    source text NOT NULL,
    id bytea NOT NULL
);

CREATE TABLE credits.grants (
    amount bigint NOT NULL CHECK (amount > 0),
    remaining bigint NOT NULL,
    effective_at timestamptz NOT NULL,
    -- Null: does not expire.
    expires_at timestamptz,
    account_no integer NOT NULL,
    grant_id integer NOT NULL CHECK (grant_id > 0),
    -- The decision that opened it.
    position integer NOT NULL,
    origin credits.grant_origin NOT NULL,
    -- Open until its expiry has been decided.
    open boolean NOT NULL,
    CONSTRAINT remaining_within_amount CHECK (remaining BETWEEN 0 AND amount),
    CONSTRAINT closed_is_empty CHECK (open OR remaining = 0)
) WITH (fillfactor = 70);

-- One row per grant that a balance change touched; a change that touched none has one row without a grant.
CREATE TABLE credits.entries (
    amount bigint NOT NULL,
    -- Of the whole change, as published; null: unlimited.
    previous_balance bigint CHECK (previous_balance >= 0),
    balance bigint CHECK (balance >= 0),
    period_ends_at timestamptz,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    account_no integer NOT NULL,
    sequence integer NOT NULL CHECK (sequence > 0),
    line integer NOT NULL CHECK (line >= 0),
    -- The decision that caused it.
    position integer NOT NULL,
    reason credits.change_reason NOT NULL,
    grant_id integer,
    -- Of a refund: the sequence of the charge that it gives back.
    refunds_sequence integer,
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

-- What is known of a prospect: what was told of it, and what its last stay on the account cost.
CREATE TABLE credits.prospects (
    -- Which stay the charge belongs to: when what was charged occurred, or what gave it back. Null: the first told.
    charge_at timestamptz,
    account_no integer NOT NULL,
    -- How many stays there were up to the last.
    stay integer NOT NULL,
    charge_sequence integer,
    -- Null with a charge: made on an unlimited plan.
    charge_grant_id integer,
    refund_sequence integer,
    -- Null: not on the account.
    origin credits.prospect_origin,
    prospect_id bytea NOT NULL,
    -- The positions of the decisions on what was told, in order of occurrence: an array as text, which is shorter.
    told text NOT NULL,
    -- All charges, where there is more to them than the one that the columns show.
    charges json,
    CONSTRAINT refund_needs_a_charge CHECK (refund_sequence IS NULL OR charge_sequence < refund_sequence),
    CONSTRAINT charge_means_on_account CHECK (charge_sequence IS NULL OR origin IS NOT NULL)
) WITH (fillfactor = 85);

-- Each purchase counts once, whatever the ids of the events that reported it.
CREATE TABLE credits.purchases (
    account_no integer NOT NULL,
    -- The decision that counted it; its grant was opened by the same.
    position integer NOT NULL,
    purchase_id text COLLATE "C" NOT NULL
);

-- A refund that waits for a person: one a charge. Decided once, and never taken back.
CREATE TABLE credits.refund_requests (
    requested_at timestamptz NOT NULL,
    decided_at timestamptz,
    account_no integer NOT NULL,
    -- Negative: a charge from before the ledger, brought in by the decision of that number.
    charge_sequence integer NOT NULL CHECK (charge_sequence <> 0),
    -- The decision that asked for it.
    position integer NOT NULL,
    -- The command that decided it, and who gave it.
    decided_position integer,
    status credits.request_status NOT NULL DEFAULT 'waiting',
    prospect_id bytea NOT NULL,
    operator text CHECK (length(operator) BETWEEN 1 AND 200),
    reason text CHECK (length(reason) BETWEEN 1 AND 1000),
    CONSTRAINT decision_has_its_reason CHECK (
        (status IN ('approved', 'rejected')) = (operator IS NOT NULL)
        AND (operator IS NULL) = (reason IS NULL)
        AND (operator IS NULL) = (decided_position IS NULL)
        AND (status = 'waiting') = (decided_at IS NULL)
    )
);

-- Events of accounts that have no plan yet: the known fields only, encoded anew.
CREATE TABLE credits.parked_events (
    occurred_at timestamptz NOT NULL,
    parked_at timestamptz NOT NULL,
    "offset" bigint NOT NULL,
    account_no integer NOT NULL,
    partition integer NOT NULL,
    type credits.event_type NOT NULL,
    -- Ties of occurred_at are decided by the rank of the type, then source and id.
    type_rank smallint NOT NULL,
    key bytea NOT NULL CHECK (length(key) = 16),
    content bytea NOT NULL CHECK (length(content) = 16),
    source text NOT NULL,
    id text NOT NULL,
    data bytea NOT NULL
);

INSERT INTO credits.accounts (
    account_id, partition_hash, balance, unlimited, sequence, position, last_grant_id, plan_position, anchor_at,
    time_zone, period_number, period_starts_at, period_ends_at, granted_in_period, declined_in_period, parked,
    next_timer_at
)
SELECT
    account_id, partition_hash, balance, unlimited, sequence, position, last_grant_id, plan_position, anchor_at,
    time_zone, period_number, period_starts_at, period_ends_at, granted_in_period, declined_in_period, parked,
    next_timer_at
FROM credits_before.accounts
ORDER BY account_id;
ALTER TABLE credits.accounts
    ADD PRIMARY KEY (account_id),
    ADD CONSTRAINT one_account_per_number UNIQUE (account_no);

-- Left joins below: a row of no account ends the migration, instead of being lost.
INSERT INTO credits.decisions (
    account_no, position, key, content, content_version, source, id, type, outcome, occurred_at, decided_at, partition,
    "offset", prospect_id, declined_in_period, period_ends_at, note
)
SELECT
    account_no, d.position, key, content, content_version, source, credits.packed(id), type, outcome, occurred_at,
    decided_at, partition, "offset", credits.packed(prospect_id), d.declined_in_period, d.period_ends_at, note
FROM credits_before.decisions AS d
LEFT JOIN credits.accounts USING (account_id);
ALTER TABLE credits.decisions
    ADD PRIMARY KEY (account_no, position),
    ADD CONSTRAINT one_decision_per_key UNIQUE (account_no, key);

INSERT INTO credits.plans (
    account_no, position, plan_id, monthly_credits, seats, email_accounts, effective_at, occurred_at, pending, type,
    source, id
)
SELECT
    account_no, position, plan_id, monthly_credits, seats, email_accounts, effective_at, p.occurred_at, pending, d.type,
    d.source, credits.packed(d.id)
FROM credits_before.plans AS p
LEFT JOIN credits_before.decisions AS d USING (account_id, position)
LEFT JOIN (SELECT account_id, account_no FROM credits.accounts) AS a USING (account_id);

INSERT INTO credits.grants (
    account_no, grant_id, origin, amount, remaining, effective_at, expires_at, open, position
)
SELECT account_no, grant_id, origin, amount, remaining, effective_at, expires_at, open, g.position
FROM credits_before.grants AS g
LEFT JOIN credits.accounts USING (account_id);

INSERT INTO credits.entries (
    account_no, sequence, line, grant_id, amount, previous_balance, balance, reason, position, refunds_sequence,
    period_ends_at, occurred_at, recorded_at
)
SELECT
    account_no, e.sequence, line, grant_id, amount, previous_balance, e.balance, reason, e.position, refunds_sequence,
    e.period_ends_at, occurred_at, recorded_at
FROM credits_before.entries AS e
LEFT JOIN credits.accounts USING (account_id);
ALTER TABLE credits.entries ADD PRIMARY KEY (account_no, sequence, line);

-- What was told had its ids and times in a JSON text, or one position; rows of the first release have none at all, but
-- their charge or their bounce does.
INSERT INTO credits.prospects (
    account_no, prospect_id, origin, stay, charge_sequence, charge_grant_id, refund_sequence, told, charge_at, charges
)
SELECT
    a.account_no,
    credits.packed(p.prospect_id),
    p.origin,
    CASE WHEN p.story IS NULL AND p.origin IS NULL THEN 0 ELSE p.stay END,
    p.charge_sequence,
    p.charge_grant_id,
    p.refund_sequence,
    coalesce(told.positions, array_remove(ARRAY[coalesce(p.told_position, e.position, p.bounce_position)], NULL))::text,
    CASE WHEN shown.is_all AND shown.charged_at <> told.first_at THEN shown.charged_at END,
    CASE WHEN NOT shown.is_all THEN old.story -> 'charges' END
FROM credits_before.prospects AS p
LEFT JOIN (SELECT account_id, account_no FROM credits.accounts) AS a USING (account_id)
LEFT JOIN credits.entries AS e
    ON p.told_position IS NULL AND p.story IS NULL
    AND e.account_no = a.account_no AND e.sequence = p.charge_sequence AND e.line = 0
CROSS JOIN LATERAL (SELECT p.story::json AS story) AS old
CROSS JOIN LATERAL (
    SELECT
        array_agg((cause ->> 0)::integer ORDER BY nth) AS positions,
        (min(cause ->> 4) FILTER (WHERE nth = 1))::timestamptz AS first_at
    FROM json_array_elements(old.story -> 'told') WITH ORDINALITY AS causes (cause, nth)
) AS told
-- Whether the columns show all: one charge, of the last stay, given back or alive and never asked for, or none at all.
CROSS JOIN LATERAL (
    SELECT
        count(*) = 0 OR count(*) = 1 AND bool_and(
            (charge ->> 0)::bigint IS NOT DISTINCT FROM p.charge_sequence
            AND (charge ->> 4)::boolean = (charge ->> 3 IS NOT NULL) AND NOT (charge ->> 5)::boolean
        ) AS is_all,
        min(charge ->> 2)::timestamptz AS charged_at
    FROM json_array_elements(old.story -> 'charges') AS charges (charge)
) AS shown;
ALTER TABLE credits.prospects ADD PRIMARY KEY (account_no, prospect_id);

INSERT INTO credits.purchases (account_no, position, purchase_id)
SELECT account_no, p.position, purchase_id
FROM credits_before.purchases AS p
LEFT JOIN credits.accounts USING (account_id);

INSERT INTO credits.refund_requests (
    account_no, charge_sequence, prospect_id, status, position, requested_at, decided_position, decided_at, operator,
    reason
)
SELECT
    account_no, charge_sequence, credits.packed(prospect_id), status, r.position, requested_at, decided_position, decided_at, operator,
    reason
FROM credits_before.refund_requests AS r
LEFT JOIN credits.accounts USING (account_id);

INSERT INTO credits.parked_events (
    account_no, key, content, source, id, type, occurred_at, type_rank, data, partition, "offset", parked_at
)
SELECT account_no, key, content, source, id, type, occurred_at, type_rank, data, partition, "offset", parked_at
FROM credits_before.parked_events
LEFT JOIN credits.accounts USING (account_id);

DROP SCHEMA credits_before CASCADE;

CREATE INDEX accounts_by_timer ON credits.accounts (next_timer_at) WHERE next_timer_at IS NOT NULL;
CREATE INDEX accounts_with_parked_events ON credits.accounts (account_id) WHERE parked > 0;
ALTER TABLE credits.plans ADD PRIMARY KEY (account_no, position);
CREATE INDEX plans_pending ON credits.plans (account_no) WHERE pending;
ALTER TABLE credits.grants ADD PRIMARY KEY (account_no, grant_id);
CREATE INDEX grants_open ON credits.grants (account_no) WHERE open;
CREATE UNIQUE INDEX one_refund_per_charge ON credits.entries (account_no, refunds_sequence)
    WHERE refunds_sequence IS NOT NULL;
ALTER TABLE credits.purchases ADD CONSTRAINT one_count_per_purchase PRIMARY KEY (account_no, purchase_id);
ALTER TABLE credits.refund_requests ADD CONSTRAINT one_request_per_charge PRIMARY KEY (account_no, charge_sequence);
CREATE INDEX refund_requests_waiting ON credits.refund_requests (requested_at) WHERE status = 'waiting';
ALTER TABLE credits.parked_events ADD PRIMARY KEY (account_no, key);
CREATE INDEX parked_events_in_order ON credits.parked_events
    (account_no, occurred_at, type_rank, source COLLATE "C", id COLLATE "C");
CREATE INDEX parked_events_by_age ON credits.parked_events (parked_at);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credits.entries
    FOR EACH STATEMENT EXECUTE FUNCTION credits.refuse_change_of_history();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credits.decisions
    FOR EACH STATEMENT EXECUTE FUNCTION credits.refuse_change_of_history();
CREATE TRIGGER one_charge_alive_per_prospect BEFORE UPDATE ON credits.prospects
    FOR EACH ROW
    WHEN (old.charge_sequence IS NOT NULL AND new.stay <= old.stay
        AND new.charge_sequence IS DISTINCT FROM old.charge_sequence)
    EXECUTE FUNCTION credits.refuse_second_charge();
CREATE TRIGGER one_decision_per_request BEFORE UPDATE OR DELETE ON credits.refund_requests
    FOR EACH ROW
    WHEN (old.status <> 'waiting')
    EXECUTE FUNCTION credits.refuse_second_decision();

-- For people.
CREATE VIEW credits.decisions_by_account AS
SELECT
    a.account_id, d.position, d.type, d.outcome, d.source, credits.unpacked(d.id) AS id,
    credits.unpacked(d.prospect_id) AS prospect_id, d.occurred_at, d.decided_at, d.declined_in_period, d.period_ends_at,
    d.note, d.partition, d."offset"
FROM credits.decisions AS d
JOIN credits.accounts AS a USING (account_no);
CREATE VIEW credits.entries_by_account AS
SELECT
    a.account_id, e.sequence, e.line, e.reason, e.grant_id, e.amount, e.previous_balance, e.balance, e.position,
    e.refunds_sequence, e.period_ends_at, e.occurred_at, e.recorded_at
FROM credits.entries AS e
JOIN credits.accounts AS a USING (account_no);
CREATE VIEW credits.prospects_by_account AS
SELECT
    a.account_id, credits.unpacked(p.prospect_id) AS prospect_id, p.origin, p.stay, p.charge_sequence, p.charge_grant_id,
    p.refund_sequence, p.told, p.charge_at, p.charges
FROM credits.prospects AS p
JOIN credits.accounts AS a USING (account_no);

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
