-- Recomputes the remaining credits of an account's grants from its entries.
UPDATE credits.grants AS g
SET remaining = counted.remaining
FROM (
    SELECT e.grant_id, sum(e.amount) AS remaining
    FROM credits.entries AS e
    WHERE e.account_no = $1 AND e.grant_id IS NOT NULL
    GROUP BY e.grant_id
) AS counted
WHERE g.account_no = $1 AND g.grant_id = counted.grant_id AND g.remaining <> counted.remaining;
