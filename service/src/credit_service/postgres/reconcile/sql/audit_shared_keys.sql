-- Events that were decided for more than one account; the service's own events have keys of their accounts.
SELECT
    min(d.source) AS source, min(credits.unpacked(d.id)) AS id,
    (array_agg(a.account_id ORDER BY a.account_id)) [1:100] AS accounts
FROM credits.decisions AS d
JOIN credits.accounts AS a USING (account_no)
WHERE d.key IN (
    SELECT s.key FROM credits.decisions AS s WHERE s.source <> $1 GROUP BY s.key HAVING count(*) > 1
)
GROUP BY d.key
ORDER BY 1, 2;
