-- Updates all columns of the accounts.
UPDATE credits.accounts AS a
SET
    balance = new.balance,
    sequence = new.sequence,
    position = new.position,
    unlimited = new.unlimited,
    last_grant_id = new.last_grant_id,
    plan_position = new.plan_position,
    anchor_at = new.anchor_at,
    time_zone = new.time_zone,
    period_number = new.period_number,
    period_starts_at = new.period_starts_at,
    period_ends_at = new.period_ends_at,
    granted_in_period = new.granted_in_period,
    declined_in_period = new.declined_in_period,
    parked = new.parked,
    next_timer_at = new.next_timer_at,
    opening_since = new.opening_since
FROM unnest(
    $1::integer [], $2::bigint [], $3::integer [], $4::integer [], $5::boolean [], $6::integer [], $7::integer [],
    $8::timestamptz [], $9::text [], $10::integer [], $11::timestamptz [], $12::timestamptz [],
    $13::bigint [], $14::integer [], $15::integer [], $16::timestamptz [], $17::timestamptz []
) AS new (
    account_no, balance, sequence, position, unlimited, last_grant_id, plan_position,
    anchor_at, time_zone, period_number, period_starts_at, period_ends_at,
    granted_in_period, declined_in_period, parked, next_timer_at, opening_since
)
WHERE a.account_no = new.account_no;
