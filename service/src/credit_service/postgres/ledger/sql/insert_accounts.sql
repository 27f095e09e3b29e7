-- Inserts new accounts, in one order for all members, without those that another member has inserted meanwhile.
INSERT INTO credits.accounts (account_id, partition_hash)
SELECT account_id, partition_hash
FROM unnest($1::text [], $2::integer []) AS named (account_id, partition_hash)
ORDER BY account_id COLLATE "C"
ON CONFLICT (account_id) DO NOTHING
RETURNING
    account_id, account_no, balance, sequence, position,
    unlimited, last_grant_id, plan_position, anchor_at, time_zone, period_number, period_starts_at, period_ends_at,
    granted_in_period, declined_in_period, parked, next_timer_at, opening_since;
