-- The clock, and those of the given keys that were decided before, with content and outcome. At least one row: without
-- a key where none was decided.
SELECT credits.ledger_now() AS now, decided.nth, decided.content, decided.outcome
FROM (VALUES (true)) AS clock (ticks)
LEFT JOIN (
    SELECT asked.nth, d.content, d.outcome::text
    FROM unnest($1::integer [], $2::bytea []) WITH ORDINALITY AS asked (account_no, key, nth)
    JOIN credits.decisions AS d ON d.account_no = asked.account_no AND d.key = asked.key
) AS decided ON clock.ticks;
