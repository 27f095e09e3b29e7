-- The given prospects; of rows without a story with the decision on the one event that was told of them.
SELECT
    p.account_id, p.prospect_id, p.origin::text, p.charge_sequence, p.charge_grant_id, p.refund_sequence, p.story,
    d.position, d.source, d.id, d.type::text, d.occurred_at
FROM unnest($1::text [], $2::text []) AS asked (account_id, prospect_id)
JOIN credits.prospects AS p ON p.account_id = asked.account_id AND p.prospect_id = asked.prospect_id
LEFT JOIN credits.decisions AS d
    ON p.story IS NULL AND d.account_id = p.account_id AND d.position = coalesce(
        p.told_position,
        p.bounce_position,
        -- Rows of the version before do not name it, but the charge does.
        (
            SELECT e.position FROM credits.entries AS e
            WHERE e.account_id = p.account_id AND e.sequence = p.charge_sequence AND e.line = 0
        )
    );
