-- migrate:up

-- Who may do what: four roles that nobody logs in as. A deployment's users are members of one of them. What each may do
-- is what its statements need; deploy/POSTGRES_ACCESS.md has it as a table.

-- Owners change under a lock of each table. What waits for it behind a long read would have everybody wait.
SET LOCAL lock_timeout = '5s';

-- Roles are those of the server, not of the database: they may be there, or come from elsewhere at this very moment.
DO $$
DECLARE
    wanted text;
    ready constant text := 'before this migration, have a superuser run: CREATE ROLE credits_owner NOLOGIN; '
        'CREATE ROLE credits_service NOLOGIN; CREATE ROLE credits_relay NOLOGIN; CREATE ROLE credits_reader NOLOGIN; '
        'GRANT credits_owner TO %I; (those that are missing)';
BEGIN
    FOREACH wanted IN ARRAY ARRAY['credits_owner', 'credits_service', 'credits_relay', 'credits_reader'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is missing, and % may not create it; %', wanted, current_user,
                    format(ready, current_user)
                    USING ERRCODE = 'insufficient_privilege';
        END;
    END LOOP;
    IF NOT pg_has_role(current_user, 'credits_owner', 'SET') THEN
        BEGIN
            EXECUTE format('GRANT credits_owner TO %I WITH INHERIT TRUE, SET TRUE', current_user);
        EXCEPTION
            WHEN unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION '% is no member of credits_owner; %', current_user, format(ready, current_user)
                    USING ERRCODE = 'insufficient_privilege';
        END;
    END IF;
END $$;

-- Whoever ran the migrations before is a member of the owner now, and goes on as before. Tables in the order in which
-- transactions lock them, so that none waits for this one in a circle.
ALTER SCHEMA credits OWNER TO credits_owner;
ALTER TABLE credits.paused_topics OWNER TO credits_owner;
ALTER TABLE credits.partition_offsets OWNER TO credits_owner;
ALTER TABLE credits.accounts OWNER TO credits_owner;
ALTER TABLE credits.plans OWNER TO credits_owner;
ALTER TABLE credits.grants OWNER TO credits_owner;
ALTER TABLE credits.prospects OWNER TO credits_owner;
ALTER TABLE credits.purchases OWNER TO credits_owner;
ALTER TABLE credits.refund_requests OWNER TO credits_owner;
ALTER TABLE credits.parked_events OWNER TO credits_owner;
ALTER TABLE credits.decisions OWNER TO credits_owner;
ALTER TABLE credits.entries OWNER TO credits_owner;
ALTER TABLE credits.adjustments OWNER TO credits_owner;
ALTER TABLE credits.outbox OWNER TO credits_owner;
ALTER TABLE credits.outbox_claim OWNER TO credits_owner;
ALTER TABLE credits.dead_letters OWNER TO credits_owner;
ALTER TABLE credits.offset_gaps OWNER TO credits_owner;
ALTER TABLE credits.operations OWNER TO credits_owner;
ALTER VIEW credits.decisions_by_account OWNER TO credits_owner;
ALTER VIEW credits.entries_by_account OWNER TO credits_owner;
ALTER VIEW credits.prospects_by_account OWNER TO credits_owner;
ALTER FUNCTION credits.ledger_now() OWNER TO credits_owner;
ALTER FUNCTION credits.packed(text) OWNER TO credits_owner;
ALTER FUNCTION credits.unpacked(bytea) OWNER TO credits_owner;
ALTER FUNCTION credits.refuse_second_charge() OWNER TO credits_owner;
ALTER FUNCTION credits.refuse_change_of_history() OWNER TO credits_owner;
ALTER FUNCTION credits.refuse_second_decision() OWNER TO credits_owner;
ALTER FUNCTION credits.refuse_removal() OWNER TO credits_owner;
ALTER TYPE credits.event_type OWNER TO credits_owner;
ALTER TYPE credits.outcome OWNER TO credits_owner;
ALTER TYPE credits.change_reason OWNER TO credits_owner;
ALTER TYPE credits.grant_origin OWNER TO credits_owner;
ALTER TYPE credits.prospect_origin OWNER TO credits_owner;
ALTER TYPE credits.request_status OWNER TO credits_owner;
ALTER TYPE credits.dead_letter_status OWNER TO credits_owner;

-- Their bodies are read anew in each session. Those of ledger_now, packed and unpacked were read once, when they were
-- made, with every name bound for good; a setting would keep the planner from writing them into the statements.
ALTER FUNCTION credits.refuse_second_charge() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION credits.refuse_change_of_history() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION credits.refuse_second_decision() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION credits.refuse_removal() SET search_path = pg_catalog, pg_temp;

REVOKE ALL ON SCHEMA credits FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA credits FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA credits FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA credits FROM PUBLIC;
REVOKE ALL ON TYPE
    credits.event_type, credits.outcome, credits.change_reason, credits.grant_origin, credits.prospect_origin,
    credits.request_status, credits.dead_letter_status
FROM PUBLIC;
-- What later migrations make is nobody's either, until they say whose.
ALTER DEFAULT PRIVILEGES FOR ROLE credits_owner REVOKE ALL ON ROUTINES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE credits_owner REVOKE ALL ON TYPES FROM PUBLIC;

-- dbmate's own table.
GRANT SELECT, INSERT, DELETE ON public.schema_migrations TO credits_owner;
GRANT SELECT ON public.schema_migrations TO credits_service, credits_reader;

GRANT USAGE ON SCHEMA credits TO credits_service, credits_relay, credits_reader;
GRANT EXECUTE ON FUNCTION credits.ledger_now() TO credits_service, credits_relay, credits_reader;
GRANT EXECUTE ON FUNCTION credits.packed(text), credits.unpacked(bytea) TO credits_service, credits_reader;

GRANT SELECT ON ALL TABLES IN SCHEMA credits TO credits_service, credits_reader;

-- The service: history is added to, and never changed.
GRANT INSERT ON credits.decisions, credits.entries, credits.adjustments, credits.offset_gaps TO credits_service;
-- What stands changes where the rules change it; what it is stays.
GRANT INSERT (account_id, partition_hash) ON credits.accounts TO credits_service;
GRANT UPDATE (
    balance, sequence, position, unlimited, last_grant_id, plan_position, anchor_at, time_zone, period_number,
    period_starts_at, period_ends_at, granted_in_period, declined_in_period, parked, next_timer_at
) ON credits.accounts TO credits_service;
GRANT INSERT, UPDATE (amount, remaining, open) ON credits.grants TO credits_service;
GRANT INSERT, UPDATE (pending, seats, email_accounts) ON credits.plans TO credits_service;
GRANT
    INSERT,
    UPDATE (origin, told, charge_sequence, charge_grant_id, refund_sequence, charge_at, stay, charges)
ON credits.prospects TO credits_service;
GRANT INSERT ON credits.purchases TO credits_service;
GRANT
    INSERT (account_no, charge_sequence, prospect_id, position, requested_at),
    UPDATE (status, decided_position, decided_at, operator, reason)
ON credits.refund_requests TO credits_service;
GRANT INSERT, DELETE ON credits.parked_events, credits.paused_topics TO credits_service;
GRANT INSERT, UPDATE (next_offset) ON credits.partition_offsets TO credits_service;
-- A dead letter keeps its place and its digest. Bytes may be erased, and come back with a letter that waits again.
GRANT
    INSERT (
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers, timestamp_ms, created_at
    ),
    UPDATE (
        reason, detail, key, value, headers, created_at, status, outcome, ended_at, operator, comment, retries,
        retried_at, retry_reason, retry_detail, erased_at, erased_by
    )
ON credits.dead_letters TO credits_service;
GRANT
    INSERT (started_at, kind, operator, reason, arguments), UPDATE (ended_at, ended_as, result)
ON credits.operations TO credits_service;
-- Publishing is the relay's: the service puts rows in, and takes the key out of those of erased letters.
GRANT
    INSERT (topic, key, event_id, event_time, payload, dead_letter_id), UPDATE (key)
ON credits.outbox TO credits_service;

-- The relay: takes out what it has published. It has to see of a dead letter what it publishes of it.
GRANT SELECT, DELETE ON credits.outbox TO credits_relay;
GRANT SELECT, INSERT (claim_id, outbox_ids, claimed_at), DELETE ON credits.outbox_claim TO credits_relay;
GRANT SELECT (
    dead_letter_id, topic, partition, "offset", reason, detail, created_at, headers, value
) ON credits.dead_letters TO credits_relay;

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
