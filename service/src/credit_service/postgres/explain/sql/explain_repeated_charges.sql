-- The decisions of account $1 with more than one charge among its first $2 balance changes: those of the positions $3,
-- or of any position where that is null.
SELECT e.position, array_agg(e.sequence ORDER BY e.sequence) AS sequences
FROM credits.entries AS e
WHERE
    e.account_no = $1 AND e.sequence <= $2 AND e.reason = 'charge'
    AND ($3::integer [] IS NULL OR e.position = ANY($3))
GROUP BY e.position
HAVING count(*) > 1;
