-- Accounts whose partition number is not read up to a moment ago ($3), and how far it is: of $1, with their hashes $2.
-- A number of which nothing is noted is one that was never read, or is there since a moment ago.
SELECT asked.account_id, known.read_until
FROM unnest($1::text [], $2::integer []) AS asked (account_id, partition_hash)
-- The count of partitions may have grown.
CROSS JOIN (SELECT partitions FROM credits.partitions_read ORDER BY noted_at DESC LIMIT 1) AS counted
INNER JOIN credits.partitions_read AS known ON known.partition = asked.partition_hash % counted.partitions
WHERE known.read_until < credits.ledger_now() - $3::interval;
