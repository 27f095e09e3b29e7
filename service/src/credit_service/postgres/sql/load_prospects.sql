-- The given prospects, each as often as something was told of it, in that order, with the decisions on it.
-- The limits have each row looked up by its whole key, also by a plan that was made while the tables were empty.
SELECT
    asked.nth, p.charge_sequence, p.charge_grant_id, p.refund_sequence, p.charge_at, p.stay, p.charges,
    p.closed_until,
    d.position, d.source, d.id, d.type::text, d.occurred_at, d.note
FROM unnest($1::integer [], $2::bytea []) WITH ORDINALITY AS asked (account_no, prospect_id, nth)
CROSS JOIN LATERAL (
    SELECT *
    FROM credits.prospects AS p
    WHERE p.account_no = asked.account_no AND p.prospect_id = asked.prospect_id
    LIMIT 1
) AS p
LEFT JOIN LATERAL unnest(p.told::integer []) WITH ORDINALITY AS told (position, nth) ON true
LEFT JOIN LATERAL (
    SELECT *
    FROM credits.decisions AS d
    -- Positions have no gaps: the first from here is the one itself. Asked so, no other index will do, which would have
    -- all decisions of the account looked at.
    WHERE d.account_no = p.account_no AND d.position >= told.position
    ORDER BY d.position
    LIMIT 1
) AS d ON true
ORDER BY asked.nth, told.nth;
