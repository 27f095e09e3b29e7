LEFT JOIN credits.adjustments AS a ON a.account_no = d.account_no AND a.position = d.position
LEFT JOIN LATERAL (
    SELECT * FROM credits.refund_requests AS r
    WHERE r.account_no = d.account_no AND r.decided_position = d.position AND d.source = '/credit-service'
    LIMIT 1
) AS r ON true
