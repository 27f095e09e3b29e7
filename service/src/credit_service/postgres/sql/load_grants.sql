-- The open grants of the given accounts.
SELECT
    g.account_id, g.grant_id, g.origin::text, g.amount, g.remaining, g.effective_at, g.expires_at, g.position
FROM unnest($1::text []) AS asked (account_id)
JOIN credits.grants AS g ON g.account_id = asked.account_id AND g.open;
