-- The decisions of account $1 with more than one charge under them, among its first $2 balance changes. Of those given,
-- or if none are, of all.
SELECT e.position, array_agg(e.sequence ORDER BY e.sequence) AS sequences
FROM credits.entries AS e
WHERE
    e.account_no = $1 AND e.sequence <= $2 AND e.reason = 'charge'
    AND ($3::integer [] IS NULL OR e.position = ANY($3))
GROUP BY e.position
HAVING count(*) > 1;
