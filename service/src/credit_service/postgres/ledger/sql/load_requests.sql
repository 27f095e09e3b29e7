-- The refund requests of the given charges, with the charged grant; the caller may name any number.
SELECT
    r.account_no, r.charge_sequence, r.prospect_id, r.position, r.status::text,
    (
        SELECT e.grant_id
        FROM credits.entries AS e
        WHERE e.account_no = r.account_no AND e.sequence = r.charge_sequence AND e.line = 0
    ) AS grant_id
FROM unnest($1::integer [], $2::bigint []) AS asked (account_no, charge_sequence)
JOIN credits.refund_requests AS r
    ON r.account_no = asked.account_no AND r.charge_sequence = asked.charge_sequence;
