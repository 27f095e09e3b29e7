-- The plans in force of the given accounts, by their positions, and their pending plans.
SELECT
    p.account_no, p.pending, p.plan_id, p.monthly_credits, p.seats, p.email_accounts, p.effective_at,
    p.position, p.source, p.id, p.type::text, p.occurred_at
FROM unnest($1::integer [], $2::integer []) AS asked (account_no, position)
JOIN credits.plans AS p ON p.account_no = asked.account_no AND p.position = asked.position
UNION ALL
SELECT
    p.account_no, p.pending, p.plan_id, p.monthly_credits, p.seats, p.email_accounts, p.effective_at,
    p.position, p.source, p.id, p.type::text, p.occurred_at
FROM unnest($1::integer []) AS asked (account_no)
JOIN credits.plans AS p ON p.account_no = asked.account_no AND p.pending;
