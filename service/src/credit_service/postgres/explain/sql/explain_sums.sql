-- What the first $2 balance changes of account $1 add up to, by grant and reason.
SELECT
    e.grant_id, e.reason::text, count(*) AS entries, sum(e.amount)::bigint AS amount, min(e.sequence) AS first,
    max(e.sequence) AS last
FROM credits.entries AS e
WHERE e.account_no = $1 AND e.sequence <= $2
GROUP BY e.grant_id, e.reason
ORDER BY e.grant_id, e.reason;
