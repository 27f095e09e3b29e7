-- The first $3 events of account $1 that were parked by $2, in the order in which they will be decided.
SELECT p.source, p.id, p.type::text, p.occurred_at, p.parked_at, p.partition, p."offset", p.data
FROM credits.parked_events AS p
WHERE p.account_no = $1 AND p.parked_at <= $2
ORDER BY p.account_no, p.occurred_at, p.type_rank, p.source COLLATE "C", p.id COLLATE "C"
LIMIT $3::bigint;
