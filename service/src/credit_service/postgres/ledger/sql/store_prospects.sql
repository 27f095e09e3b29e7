-- Updates known prospects that have changed.
UPDATE credits.prospects AS p
SET
    origin = new.origin::credits.prospect_origin,
    told = new.told,
    charge_sequence = new.charge_sequence,
    charge_grant_id = new.charge_grant_id,
    refund_sequence = new.refund_sequence,
    charge_at = new.charge_at,
    stay = new.stay,
    charges = new.charges::json,
    closed_until = new.closed_until
FROM unnest(
    $1::integer [], $2::bytea [], $3::text [], $4::text [], $5::integer [], $6::integer [], $7::integer [],
    $8::timestamptz [], $9::integer [], $10::text [], $11::timestamptz []
) AS new (
    account_no, prospect_id, origin, told, charge_sequence, charge_grant_id, refund_sequence, charge_at, stay, charges,
    closed_until
)
WHERE p.account_no = new.account_no AND p.prospect_id = new.prospect_id;
