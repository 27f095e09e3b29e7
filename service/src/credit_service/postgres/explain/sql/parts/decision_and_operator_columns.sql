    coalesce(a.operator, r.operator) AS operator, coalesce(a.reason, r.reason) AS why,
    -- include decision_columns
