-- All decisions of the given accounts.
SELECT
    account_no, position, key, content, source, credits.unpacked(id) AS id, type::text, outcome::text, occurred_at,
    decided_at, partition, "offset", credits.unpacked(prospect_id) AS prospect_id, declined_in_period, period_ends_at, note,
    as_it_stands
FROM credits.decisions
WHERE account_no = any($1::integer [])
ORDER BY account_no, position;
