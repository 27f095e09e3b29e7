-- The last of the first $2 decisions of account $1 that was made at $3 or before. Positions are in the order of
-- deciding, so a binary search finds it.
WITH RECURSIVE halves AS (
    SELECT 0 AS low, $2::integer AS high
    UNION ALL
    SELECT
        CASE WHEN d.decided_at <= $3 THEN m.middle ELSE h.low END,
        CASE WHEN d.decided_at <= $3 THEN h.high ELSE m.middle - 1 END
    FROM halves AS h
    CROSS JOIN LATERAL (SELECT h.low + (h.high - h.low + 1) / 2 AS middle) AS m
    LEFT JOIN LATERAL (
        SELECT d.decided_at
        FROM credits.decisions AS d
        WHERE d.account_no = $1 AND d.position >= m.middle
        ORDER BY d.position
        LIMIT 1
    ) AS d ON true
    WHERE h.low < h.high
)
SELECT low FROM halves WHERE low >= high;
