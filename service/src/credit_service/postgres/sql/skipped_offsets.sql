-- The offsets of these topics that are recorded as skipped: from the first of them to the one behind the last.
SELECT topic, partition, expected_offset, resumed_offset
FROM credits.offset_gaps
WHERE topic = any($1::text []) AND resumed_offset > expected_offset
ORDER BY gap_id;
