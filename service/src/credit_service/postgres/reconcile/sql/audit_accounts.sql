-- The accounts after number $1, with their rows: of the partition number $2 of $3, or the one account $4.
SELECT
    account_no, account_id, balance, unlimited, sequence, position, last_grant_id, plan_position, anchor_at, time_zone,
    period_number, granted_in_period, declined_in_period, next_timer_at, parked
FROM credits.accounts
WHERE account_no > $1 AND partition_hash % $3 = $2::integer AND ($4::text IS NULL OR account_id = $4)
ORDER BY account_no
LIMIT $5;
