-- migrate:up

-- What is told of a prospect is bounded. Beyond that its oldest stays are closed: what is told of these comes too late.
SET LOCAL lock_timeout = '5s';

ALTER TYPE credits.outcome ADD VALUE 'too-late';

-- Null: nothing is closed, as of all prospects that are there. Only rows that a service changes are written anew.
ALTER TABLE credits.prospects ADD COLUMN closed_until timestamptz;
GRANT UPDATE (closed_until) ON credits.prospects TO credits_service;

CREATE FUNCTION credits.refuse_to_open_again() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'what is closed of a prospect stays closed'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'closed_for_good';
END $$;
ALTER FUNCTION credits.refuse_to_open_again() OWNER TO credits_owner;
REVOKE EXECUTE ON FUNCTION credits.refuse_to_open_again() FROM PUBLIC;
CREATE TRIGGER closed_for_good BEFORE UPDATE ON credits.prospects
    FOR EACH ROW
    WHEN (old.closed_until > coalesce(new.closed_until, '-infinity'))
    EXECUTE FUNCTION credits.refuse_to_open_again();

CREATE OR REPLACE VIEW credits.prospects_by_account AS
SELECT
    a.account_id, credits.unpacked(p.prospect_id) AS prospect_id, p.origin, p.stay, p.charge_sequence, p.charge_grant_id,
    p.refund_sequence, p.told, p.charge_at, p.charges, p.closed_until
FROM credits.prospects AS p
JOIN credits.accounts AS a USING (account_no);

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
