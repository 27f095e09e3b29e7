-- The $2 fullest accounts: the share used of the $3 decisions, balance changes or grants, or of the $4 credits, that an
-- account may have, where it is $5 or more; and the count of such accounts among $1 noted ones. An account that was
-- noted for its credits may have spent them.
SELECT a.account_id, u.used, count(*) OVER ()
FROM (SELECT account_no FROM credits.accounts_filling ORDER BY account_no LIMIT $1) AS filling
INNER JOIN credits.accounts AS a ON filling.account_no = a.account_no
CROSS JOIN LATERAL (
    SELECT
        greatest(
            greatest(a.position, a.sequence, a.last_grant_id) / $3::float8, a.balance / $4::float8
        )::float8 AS used
) AS u
WHERE u.used >= $5::float8
ORDER BY u.used DESC, a.account_id
LIMIT $2;
