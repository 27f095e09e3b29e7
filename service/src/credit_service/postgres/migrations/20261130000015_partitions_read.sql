-- migrate:up

-- Up to which instant each partition number of the incoming topics is read: a person's order must not close a month that
-- events of its account still lie before. `partitions` is the count of partitions that the number was one of.
SET LOCAL lock_timeout = '5s';

CREATE TABLE credits.partitions_read (
    partition integer PRIMARY KEY CHECK (partition >= 0),
    partitions integer NOT NULL CHECK (partitions > partition),
    read_until timestamptz NOT NULL,
    noted_at timestamptz NOT NULL,
    CONSTRAINT nothing_is_read_ahead CHECK (read_until <= noted_at)
) WITH (fillfactor = 50);
ALTER TABLE credits.partitions_read OWNER TO credits_owner;

GRANT SELECT, INSERT, UPDATE (partitions, read_until, noted_at) ON credits.partitions_read TO credits_service;
GRANT SELECT ON credits.partitions_read TO credits_reader;

-- Whether a person had it decided without the turns of months that were due. Null: as all is.
ALTER TABLE credits.decisions ADD COLUMN as_it_stands boolean;
ALTER TABLE credits.decisions ADD CONSTRAINT as_it_stands_or_null CHECK (as_it_stands) NOT VALID;

-- As before, but that the note says so.
CREATE OR REPLACE VIEW credits.decisions_by_account AS
SELECT
    a.account_id, d.position, d.type, d.outcome, d.source, credits.unpacked(d.id) AS id,
    credits.unpacked(d.prospect_id) AS prospect_id, d.occurred_at, d.decided_at, d.declined_in_period, d.period_ends_at,
    CASE WHEN d.as_it_stands THEN concat_ws('; ', d.note, 'decided as it stood') ELSE d.note END AS note,
    d.partition, d."offset"
FROM credits.decisions AS d
JOIN credits.accounts AS a USING (account_no);

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
