-- Stores the first offsets of partitions that were never read before.
INSERT INTO credits.partition_offsets AS o (topic, partition, next_offset)
SELECT topic, partition, next_offset
FROM unnest($1::text [], $2::integer [], $3::bigint []) AS opened (topic, partition, next_offset)
ORDER BY topic, partition
ON CONFLICT (topic, partition) DO NOTHING;
