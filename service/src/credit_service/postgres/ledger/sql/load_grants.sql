-- The open grants of the given accounts.
SELECT
    g.account_no, g.grant_id, g.origin::text, g.amount, g.remaining, g.effective_at, g.expires_at, g.position
FROM unnest($1::integer []) AS asked (account_no)
JOIN credits.grants AS g ON g.account_no = asked.account_no AND g.open;
