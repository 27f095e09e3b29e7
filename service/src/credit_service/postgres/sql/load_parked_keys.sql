-- Which of the given keys wait for their account's first plan, and with what content.
SELECT p.account_id, p.key, p.content
FROM unnest($1::text [], $2::bytea []) AS asked (account_id, key)
JOIN credits.parked_events AS p ON p.account_id = asked.account_id AND p.key = asked.key;
