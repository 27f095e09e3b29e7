-- Accounts with ids from $1 to $2, in the order of ids; the other conditions apply where they are set.
SELECT
    a.account_id, CASE WHEN NOT a.unlimited THEN a.balance END AS balance, a.unlimited, p.plan_id, p.monthly_credits,
    a.period_ends_at, a.declined_in_period, a.sequence
FROM credits.accounts AS a
LEFT JOIN LATERAL (
    SELECT p.plan_id, p.monthly_credits
    FROM credits.plans AS p
    WHERE p.account_no = a.account_no AND p.position = a.plan_position
    LIMIT 1
) AS p ON true
WHERE
    a.account_id BETWEEN $1 AND $2
    AND ($3::bigint IS NULL OR NOT a.unlimited AND a.balance < $3)
    AND (NOT $4::boolean OR a.unlimited)
    AND ($5::text IS NULL OR p.plan_id = $5)
    AND (NOT $6::boolean OR a.parked > 0)
ORDER BY a.account_id
LIMIT $7::bigint;
