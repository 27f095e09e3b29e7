-- The decisions of account $1 from position $2 to $3.
SELECT d.position, d.type::text, d.outcome::text, d.occurred_at, d.prospect_id, d.decided_at
FROM credits.decisions AS d
WHERE d.account_no = $1 AND d.position BETWEEN $2 AND $3
ORDER BY d.position;
