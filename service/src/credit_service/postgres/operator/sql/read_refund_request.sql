-- One refund request with its charge, the positions of the decisions that charged, requested and decided, and its
-- refund.
SELECT
    a.account_id, r.account_no, r.charge_sequence, credits.unpacked(r.prospect_id) AS prospect_id, r.status::text,
    r.requested_at, greatest(0, extract(EPOCH FROM credits.ledger_now() - r.requested_at))::bigint AS age_seconds,
    e.occurred_at AS charged_at, e.grant_id, g.origin::text AS grant_origin, r.decided_at, r.operator, r.reason,
    e.previous_balance, e.balance, e.period_ends_at, e.recorded_at, x.sequence AS refund_sequence,
    coalesce(e.position, -r.charge_sequence) AS charged_position, r.position AS asked_position, r.decided_position
FROM credits.accounts AS a
CROSS JOIN LATERAL (
    SELECT * FROM credits.refund_requests AS kept
    WHERE kept.account_no = a.account_no AND kept.charge_sequence = $2
    LIMIT 1
) AS r
LEFT JOIN LATERAL (
    SELECT * FROM credits.entries AS charges
    WHERE charges.account_no = a.account_no AND charges.sequence = r.charge_sequence
    ORDER BY line
    LIMIT 1
) AS e ON true
LEFT JOIN LATERAL (
    SELECT origin FROM credits.grants WHERE account_no = a.account_no AND grant_id = e.grant_id LIMIT 1
) AS g ON true
LEFT JOIN LATERAL (
    SELECT refunds.sequence FROM credits.entries AS refunds
    WHERE refunds.account_no = a.account_no AND refunds.refunds_sequence = r.charge_sequence
    LIMIT 1
) AS x ON true
WHERE a.account_id = $1;
