    e.sequence, e.line, e.grant_id, e.reason::text, e.amount, e.previous_balance, e.balance,
    e.occurred_at AS entry_occurred_at, e.recorded_at, e.refunds_sequence, charged.grant_id AS charged_grant_id,
    given.sequence AS refund_sequence, given.grant_id AS refund_grant_id,
    -- include decision_and_operator_columns
