-- The last of the first $2 balance changes of account $1 that was recorded at $3 or before. Sequences are in the order
-- of recording, so a binary search finds it.
WITH RECURSIVE halves AS (
    SELECT 0 AS low, $2::integer AS high
    UNION ALL
    SELECT
        CASE WHEN e.recorded_at <= $3 THEN m.middle ELSE h.low END,
        CASE WHEN e.recorded_at <= $3 THEN h.high ELSE m.middle - 1 END
    FROM halves AS h
    CROSS JOIN LATERAL (SELECT h.low + (h.high - h.low + 1) / 2 AS middle) AS m
    LEFT JOIN LATERAL (
        SELECT e.recorded_at
        FROM credits.entries AS e
        WHERE e.account_no = $1 AND e.sequence >= m.middle
        ORDER BY e.sequence
        LIMIT 1
    ) AS e ON true
    WHERE h.low < h.high
)
SELECT low FROM halves WHERE low >= high;
