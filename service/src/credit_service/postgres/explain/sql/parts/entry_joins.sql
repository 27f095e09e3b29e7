-- The limits have each row looked up by its whole key, whatever the statistics say.
CROSS JOIN LATERAL (
    SELECT * FROM credits.decisions AS d WHERE d.account_no = e.account_no AND d.position = e.position LIMIT 1
) AS d
LEFT JOIN LATERAL (
    SELECT c.grant_id FROM credits.entries AS c
    WHERE c.account_no = e.account_no AND c.sequence = e.refunds_sequence
    LIMIT 1
) AS charged ON true
LEFT JOIN LATERAL (
    SELECT c.sequence, c.grant_id FROM credits.entries AS c
    WHERE c.account_no = e.account_no AND c.refunds_sequence = e.sequence AND e.reason = 'charge' AND c.sequence <= $2
    LIMIT 1
) AS given ON true
LEFT JOIN LATERAL (
    SELECT * FROM credits.adjustments AS a
    WHERE a.account_no = e.account_no AND a.position = e.position
    LIMIT 1
) AS a ON true
LEFT JOIN LATERAL (
    SELECT * FROM credits.refund_requests AS r
    WHERE
        r.account_no = e.account_no AND r.charge_sequence = e.refunds_sequence
        AND r.decided_position = e.position
    LIMIT 1
) AS r ON true
