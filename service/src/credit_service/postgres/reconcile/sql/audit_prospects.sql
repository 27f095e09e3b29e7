-- All prospects of the given accounts, as their rows store them.
SELECT
    account_no, credits.unpacked(prospect_id) AS prospect_id, origin::text, told, charge_sequence, charge_grant_id,
    refund_sequence, charge_at, stay, charges::text, closed_until
FROM credits.prospects
WHERE account_no = any($1::integer [])
ORDER BY account_no;
