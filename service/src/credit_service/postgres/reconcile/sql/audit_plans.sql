-- All plans of the given accounts.
SELECT account_no, position, plan_id, monthly_credits, seats, email_accounts, effective_at
FROM credits.plans
WHERE account_no = any($1::integer [])
ORDER BY account_no, position;
