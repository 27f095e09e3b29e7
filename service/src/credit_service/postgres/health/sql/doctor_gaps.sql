-- The latest $1 recorded gaps.
SELECT
    topic, partition, expected_offset, resumed_offset, extract(EPOCH FROM credits.ledger_now() - noticed_at)::float8,
    old_topic_id IS NOT NULL
FROM credits.offset_gaps
ORDER BY gap_id DESC
LIMIT $1;
