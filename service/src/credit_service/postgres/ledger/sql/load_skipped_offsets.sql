-- The recorded gaps of these topics: the first skipped offset and the one after the last. Gaps of a topic that was
-- recreated since are left out.
SELECT topic, partition, expected_offset, resumed_offset
FROM credits.offset_gaps AS g
WHERE topic = any($1::text []) AND resumed_offset > expected_offset
    AND NOT EXISTS (
        SELECT FROM credits.offset_gaps AS anew
        WHERE anew.topic = g.topic AND anew.partition = g.partition AND anew.gap_id >= g.gap_id
            AND anew.old_topic_id IS NOT NULL
    )
ORDER BY gap_id;
