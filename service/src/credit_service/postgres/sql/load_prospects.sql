-- The given prospects, each with the decision on the bounce that came before its charge.
SELECT
    p.account_id, p.prospect_id, p.origin::text, p.charge_sequence, p.charge_grant_id, p.refund_sequence, p.deleted_at,
    p.bounce_position, d.source, d.id, d.type::text, d.occurred_at
FROM unnest($1::text [], $2::text []) AS asked (account_id, prospect_id)
JOIN credits.prospects AS p ON p.account_id = asked.account_id AND p.prospect_id = asked.prospect_id
LEFT JOIN credits.decisions AS d ON d.account_id = p.account_id AND d.position = p.bounce_position;
