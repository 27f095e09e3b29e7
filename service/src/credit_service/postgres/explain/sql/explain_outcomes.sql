-- The count of each outcome among the first $2 decisions of account $1.
SELECT d.outcome::text, count(*) AS decisions
FROM credits.decisions AS d
WHERE d.account_no = $1 AND d.position <= $2
GROUP BY d.outcome
ORDER BY d.outcome;
