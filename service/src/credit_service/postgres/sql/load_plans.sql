-- The plan in force of the given accounts, by its position, and those that wait for their time.
SELECT
    p.account_id, p.position, p.plan_id, p.monthly_credits, p.seats, p.email_accounts, p.effective_at, p.pending,
    d.source, d.id, d.type::text, p.occurred_at
FROM unnest($1::text [], $2::bigint []) AS asked (account_id, position)
JOIN credits.plans AS p ON p.account_id = asked.account_id AND p.position = asked.position
JOIN credits.decisions AS d ON d.account_id = p.account_id AND d.position = p.position
UNION ALL
SELECT
    p.account_id, p.position, p.plan_id, p.monthly_credits, p.seats, p.email_accounts, p.effective_at, p.pending,
    d.source, d.id, d.type::text, p.occurred_at
FROM unnest($1::text []) AS asked (account_id)
JOIN credits.plans AS p ON p.account_id = asked.account_id AND p.pending
JOIN credits.decisions AS d ON d.account_id = p.account_id AND d.position = p.position;
