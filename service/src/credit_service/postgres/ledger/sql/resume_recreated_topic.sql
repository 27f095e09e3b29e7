-- Moves a stored offset to the beginning of a recreated topic, and records the offset in the old topic.
-- Does nothing if another member has moved it already.
WITH moved AS (
    UPDATE credits.partition_offsets
    SET next_offset = $4, topic_id = $7
    WHERE topic = $1 AND partition = $2 AND next_offset = $3 AND topic_id = $6
    RETURNING topic, partition
)
INSERT INTO credits.offset_gaps (
    topic, partition, expected_offset, resumed_offset, log_end_offset, noticed_at, old_topic_id
)
SELECT topic, partition, $3, $4, $5, credits.ledger_now(), $6
FROM moved
ON CONFLICT DO NOTHING;
