-- The last time at which each partition was found to belong to a recreated topic.
SELECT topic, partition, max(noticed_at) AS noticed_at
FROM credits.offset_gaps
WHERE old_topic_id IS NOT NULL
GROUP BY topic, partition;
