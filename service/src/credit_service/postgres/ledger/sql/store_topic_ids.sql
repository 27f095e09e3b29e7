-- Stores the topic ids of the given partitions where they are not known.
UPDATE credits.partition_offsets AS o
SET topic_id = found.topic_id
FROM unnest($1::text [], $2::integer [], $3::uuid []) AS found (topic, partition, topic_id)
WHERE o.topic = found.topic AND o.partition = found.partition AND o.topic_id IS NULL;
