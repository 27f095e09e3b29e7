-- Locks the stored offsets of the given partitions to the end of the transaction, in one order for all members.
SELECT o.topic, o.partition, o.next_offset
FROM credits.partition_offsets AS o
JOIN unnest($1::text [], $2::integer []) AS asked (topic, partition)
    ON o.topic = asked.topic AND o.partition = asked.partition
ORDER BY o.topic, o.partition
FOR UPDATE OF o;
