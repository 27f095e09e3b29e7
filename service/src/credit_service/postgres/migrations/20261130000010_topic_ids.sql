-- migrate:up

-- Kafka's id of the topic that an offset counts in. A topic that is deleted and made anew has the same name and another
-- id, and its offsets begin at 0 again. Null until a service has asked, and where the broker knows no ids.
SET LOCAL lock_timeout = '5s';

ALTER TABLE credits.partition_offsets ADD COLUMN topic_id uuid;
GRANT UPDATE (topic_id) ON credits.partition_offsets TO credits_service;

-- The topic that was there before, where the gap is one between two topics of the same name. That a topic is made anew
-- may happen again at the same offsets.
ALTER TABLE credits.offset_gaps ADD COLUMN old_topic_id uuid;
-- No service goes by it: a gap is recorded by whoever moves the offset.
-- squawk-ignore ban-drop-constraint
ALTER TABLE credits.offset_gaps DROP CONSTRAINT offset_gaps_topic_partition_expected_offset_resumed_offset_key;
-- The table has a row for each gap that there ever was: a handful.
-- squawk-ignore disallowed-unique-constraint, constraint-missing-not-valid
ALTER TABLE credits.offset_gaps ADD CONSTRAINT one_row_per_gap
    UNIQUE NULLS NOT DISTINCT (topic, partition, expected_offset, resumed_offset, old_topic_id);

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
