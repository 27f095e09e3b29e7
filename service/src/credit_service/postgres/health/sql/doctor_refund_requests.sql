-- The count of waiting refund requests, up to $1, and the age of the oldest.
SELECT count(*), extract(EPOCH FROM credits.ledger_now() - min(requested_at))::float8
FROM (
    SELECT requested_at FROM credits.refund_requests WHERE status = 'waiting' ORDER BY requested_at LIMIT $1
) AS waiting;
