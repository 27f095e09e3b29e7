    d.position, d.type::text, d.outcome::text, d.source, d.id, d.prospect_id, d.occurred_at, d.decided_at,
    d.declined_in_period, d.period_ends_at, d.note, d.partition, d."offset"
