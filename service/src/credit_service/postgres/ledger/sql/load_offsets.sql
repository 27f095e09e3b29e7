-- The stored offsets of the given partitions; a partition that was never read has none.
SELECT o.topic, o.partition, o.next_offset
FROM credits.partition_offsets AS o
JOIN unnest($1::text [], $2::integer []) AS asked (topic, partition)
    ON o.topic = asked.topic AND o.partition = asked.partition;
