-- migrate:up

-- Since when an account is being brought in from elsewhere and more of it is to come: all else of it waits meanwhile,
-- also where whoever brought it in was killed. Null at all other times.
SET LOCAL ROLE credits_owner;
SET LOCAL lock_timeout = '5s';

ALTER TABLE credits.accounts ADD COLUMN opening_since timestamptz;
ALTER TABLE credits.accounts
ADD CONSTRAINT opened_with_its_plan CHECK (opening_since IS NULL OR period_number IS NOT NULL) NOT VALID;
-- How many events may wait for a first plan; once it has come, they are worked off, and new ones queue behind them.
-- No service of the version before is kept from anything by this.
-- squawk-ignore ban-drop-constraint
ALTER TABLE credits.accounts DROP CONSTRAINT accounts_parked_check;
ALTER TABLE credits.accounts
ADD CONSTRAINT parked_is_bounded_without_a_plan
CHECK (parked >= 0 AND (parked <= 10000 OR period_number IS NOT NULL)) NOT VALID;
GRANT UPDATE (opening_since) ON credits.accounts TO credits_service;

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
