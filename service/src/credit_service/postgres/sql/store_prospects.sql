-- Writes back the prospects that were known before and were touched.
UPDATE credits.prospects AS p
SET
    origin = new.origin::credits.prospect_origin,
    told_position = new.told_position,
    charge_sequence = new.charge_sequence,
    charge_grant_id = new.charge_grant_id,
    refund_sequence = new.refund_sequence,
    bounce_position = new.bounce_position,
    deleted_at = new.deleted_at,
    stay = new.stay,
    story = new.story
FROM unnest(
    $1::text [], $2::text [], $3::text [], $4::bigint [], $5::bigint [], $6::integer [], $7::bigint [],
    $8::bigint [], $9::timestamptz [], $10::integer [], $11::text []
) AS new (
    account_id, prospect_id, origin, told_position, charge_sequence, charge_grant_id, refund_sequence,
    bounce_position, deleted_at, stay, story
)
WHERE p.account_id = new.account_id AND p.prospect_id = new.prospect_id;
