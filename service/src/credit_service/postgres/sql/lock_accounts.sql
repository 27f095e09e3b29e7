-- Locks the accounts, in one order for all members, and reads their rows under the lock.
SELECT
    account_id, account_no, balance, sequence, position,
    unlimited, last_grant_id, plan_position, anchor_at, time_zone, period_number, period_starts_at, period_ends_at,
    granted_in_period, declined_in_period, parked, next_timer_at, opening_since
FROM credits.accounts
WHERE account_id = any($1::text [])
ORDER BY account_id
FOR UPDATE;
