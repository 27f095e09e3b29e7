-- The refund requests of the given charges.
SELECT r.account_id, r.charge_sequence, r.prospect_id, r.position, r.status::text
FROM unnest($1::text [], $2::bigint []) AS asked (account_id, charge_sequence)
JOIN credits.refund_requests AS r
    ON r.account_id = asked.account_id AND r.charge_sequence = asked.charge_sequence;
