-- The given prospects, with one row for each decision of their history, in its order.
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
    -- Positions have no gaps, so the first from here is the decision itself. With this condition the planner can use no
    -- other index, by which it would scan all decisions of the account.
    WHERE d.account_no = p.account_no AND d.position >= told.position
    ORDER BY d.position
    LIMIT 1
) AS d ON true
ORDER BY asked.nth, told.nth;
