-- The stored topic ids of the given partitions, where they are known.
SELECT o.topic, o.partition, o.topic_id
FROM credits.partition_offsets AS o
JOIN unnest($1::text [], $2::integer []) AS asked (topic, partition)
    ON o.topic = asked.topic AND o.partition = asked.partition
WHERE o.topic_id IS NOT NULL;
