-- Says where the given partitions are read from: the first time, or after a gap.
INSERT INTO credits.partition_offsets AS o (topic, partition, next_offset)
SELECT topic, partition, next_offset
FROM unnest($1::text [], $2::integer [], $3::bigint []) AS opened (topic, partition, next_offset)
ORDER BY topic, partition
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset;
