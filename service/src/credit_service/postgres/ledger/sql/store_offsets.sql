-- Updates the stored offsets.
UPDATE credits.partition_offsets AS o
SET next_offset = moved.next_offset
FROM unnest($1::text [], $2::integer [], $3::bigint []) AS moved (topic, partition, next_offset)
WHERE o.topic = moved.topic AND o.partition = moved.partition;
