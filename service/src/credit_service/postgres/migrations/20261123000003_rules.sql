-- migrate:up

ALTER TYPE credits.event_type ADD VALUE 'credits-purchased';
ALTER TYPE credits.event_type ADD VALUE 'prospect-imported';
ALTER TYPE credits.event_type ADD VALUE 'prospect-transferred';
ALTER TYPE credits.event_type ADD VALUE 'prospect-stage-changed';
ALTER TYPE credits.event_type ADD VALUE 'prospect-deleted';
ALTER TYPE credits.event_type ADD VALUE 'refund-approved';
ALTER TYPE credits.event_type ADD VALUE 'refund-rejected';
ALTER TYPE credits.event_type ADD VALUE 'opening';

ALTER TYPE credits.outcome ADD VALUE 'purchased';
ALTER TYPE credits.outcome ADD VALUE 'imported';
ALTER TYPE credits.outcome ADD VALUE 'deleted';
ALTER TYPE credits.outcome ADD VALUE 'refund-requested';
ALTER TYPE credits.outcome ADD VALUE 'rejected';
ALTER TYPE credits.outcome ADD VALUE 'opened';

ALTER TABLE credits.prospects
    -- The decision on what was told of the prospect, where that is all that was told.
    ADD COLUMN told_position bigint,
    -- Else all of it, and what each stay cost; the columns beside it are those of the last stay, with this number.
    ADD COLUMN story text,
    ADD COLUMN stay integer NOT NULL DEFAULT 1;

-- A late delete may part a stay in two: the charge is then that of the later one.
DROP TRIGGER one_charge_alive_per_prospect ON credits.prospects;
CREATE OR REPLACE FUNCTION credits.refuse_second_charge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a stay on the account is charged once'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'one_charge_alive_per_prospect';
END $$;
CREATE TRIGGER one_charge_alive_per_prospect BEFORE UPDATE ON credits.prospects
    FOR EACH ROW
    WHEN (old.charge_sequence IS NOT NULL AND new.stay <= old.stay
        AND new.charge_sequence IS DISTINCT FROM old.charge_sequence)
    EXECUTE FUNCTION credits.refuse_second_charge();

-- Each purchase counts once, whatever the ids of the events that reported it.
CREATE TABLE credits.purchases (
    account_id text COLLATE "C" NOT NULL,
    purchase_id text COLLATE "C" NOT NULL,
    -- The decision that counted it; its grant was opened by the same.
    position bigint NOT NULL,
    CONSTRAINT one_count_per_purchase PRIMARY KEY (account_id, purchase_id)
);

CREATE TYPE credits.request_status AS ENUM ('waiting', 'approved', 'rejected', 'overtaken');

-- A refund that waits for a person: one a charge. Decided once, and never taken back.
CREATE TABLE credits.refund_requests (
    account_id text COLLATE "C" NOT NULL,
    -- Negative: a charge from before the ledger, brought in by the decision of that number.
    charge_sequence bigint NOT NULL CHECK (charge_sequence <> 0),
    prospect_id text COLLATE "C" NOT NULL,
    status credits.request_status NOT NULL DEFAULT 'waiting',
    -- The decision that asked for it.
    position bigint NOT NULL,
    requested_at timestamptz NOT NULL,
    -- The command that decided it, and who gave it.
    decided_position bigint,
    decided_at timestamptz,
    operator text CHECK (length(operator) BETWEEN 1 AND 200),
    reason text CHECK (length(reason) BETWEEN 1 AND 1000),
    CONSTRAINT one_request_per_charge PRIMARY KEY (account_id, charge_sequence),
    CONSTRAINT decision_has_its_reason CHECK (
        (status IN ('approved', 'rejected')) = (operator IS NOT NULL)
        AND (operator IS NULL) = (reason IS NULL)
        AND (operator IS NULL) = (decided_position IS NULL)
        AND (status = 'waiting') = (decided_at IS NULL)
    )
);
CREATE INDEX refund_requests_waiting ON credits.refund_requests (requested_at) WHERE status = 'waiting';

CREATE FUNCTION credits.refuse_second_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a refund request is decided once'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'one_decision_per_request';
END $$;
CREATE TRIGGER one_decision_per_request BEFORE UPDATE OR DELETE ON credits.refund_requests
    FOR EACH ROW
    WHEN (old.status <> 'waiting')
    EXECUTE FUNCTION credits.refuse_second_decision();

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
