-- migrate:up

-- Where what is published goes on in the trace of the event that caused it; null where there is none. It is no part of
-- the event: nothing that is compared or built again has it, and it goes with the row.
ALTER TABLE credits.outbox ADD COLUMN trace text;
ALTER TABLE credits.outbox ADD CONSTRAINT trace_is_short CHECK (length(trace) <= 55) NOT VALID;
GRANT INSERT (trace) ON credits.outbox TO credits_service;

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
