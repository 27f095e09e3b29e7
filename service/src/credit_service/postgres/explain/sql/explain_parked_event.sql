-- The parked event of account $1 under the key $2.
SELECT p.source, p.id, p.type::text, p.occurred_at, p.parked_at, p.partition, p."offset", p.data
FROM credits.parked_events AS p
WHERE p.account_no = $1 AND p.key = $2;
