-- An account with its plan in force.
SELECT
    a.account_no, a.account_id, a.balance, a.unlimited, a.sequence, a.period_starts_at, a.period_ends_at,
    a.declined_in_period, p.plan_id, p.monthly_credits, p.seats, p.email_accounts
FROM credits.accounts AS a
LEFT JOIN credits.plans AS p ON p.account_no = a.account_no AND p.position = a.plan_position
WHERE a.account_id = $1;
