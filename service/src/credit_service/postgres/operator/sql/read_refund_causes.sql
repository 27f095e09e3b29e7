-- The decisions of account $1 at the given positions, which opened or decided a refund request.
SELECT
    d.position, d.source, credits.unpacked(d.id) AS id, d.type::text, d.outcome::text, d.occurred_at, d.decided_at,
    d.partition, d."offset"
FROM unnest($2::integer []) AS asked (position)
CROSS JOIN LATERAL (
    SELECT * FROM credits.decisions AS kept WHERE kept.account_no = $1 AND kept.position = asked.position LIMIT 1
) AS d;
