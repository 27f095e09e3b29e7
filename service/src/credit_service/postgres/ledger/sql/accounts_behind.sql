-- Those of the accounts $1, with the hashes $2, whose partition number is not read up to a moment ago ($3), and the
-- time up to which it is read. A number without a row was never read, or exists since a moment ago.
SELECT asked.account_id, known.read_until
FROM unnest($1::text [], $2::integer []) AS asked (account_id, partition_hash)
-- The count of partitions may have grown.
CROSS JOIN (SELECT partitions FROM credits.partitions_read ORDER BY noted_at DESC LIMIT 1) AS counted
INNER JOIN credits.partitions_read AS known ON known.partition = asked.partition_hash % counted.partitions
WHERE known.read_until < credits.ledger_now() - $3::interval;
