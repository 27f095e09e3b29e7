-- Those of the given keys that were decided before. No lock is needed: a decision never changes.
SELECT asked.nth, d.content
FROM unnest($1::text [], $2::bytea []) WITH ORDINALITY AS asked (account_id, key, nth)
-- The limits have each row looked up by its whole key, also by a plan that was made while the tables were empty.
CROSS JOIN LATERAL (
    SELECT account_no FROM credits.accounts WHERE account_id = asked.account_id LIMIT 1
) AS a
CROSS JOIN LATERAL (
    SELECT d.content FROM credits.decisions AS d WHERE d.account_no = a.account_no AND d.key = asked.key LIMIT 1
) AS d;
