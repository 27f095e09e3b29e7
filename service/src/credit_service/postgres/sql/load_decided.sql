-- Which of the given keys were decided before, with what content, and what became of them.
SELECT d.account_id, d.key, d.content, d.outcome::text
FROM unnest($1::text [], $2::bytea []) AS asked (account_id, key)
JOIN credits.decisions AS d ON d.account_id = asked.account_id AND d.key = asked.key;
