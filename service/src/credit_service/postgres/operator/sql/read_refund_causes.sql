-- The decisions of the account $1 at the given positions, which brought a refund request about or decided it.
SELECT
    d.position, d.source, credits.unpacked(d.id) AS id, d.type::text, d.outcome::text, d.occurred_at, d.decided_at,
    d.partition, d."offset"
FROM unnest($2::integer []) AS asked (position)
CROSS JOIN LATERAL (
    SELECT * FROM credits.decisions AS kept WHERE kept.account_no = $1 AND kept.position = asked.position LIMIT 1
) AS d;
