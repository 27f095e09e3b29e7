-- When partitions were last found to be of a topic that was made anew.
SELECT topic, partition, max(noticed_at) AS noticed_at
FROM credits.offset_gaps
WHERE old_topic_id IS NOT NULL
GROUP BY topic, partition;
