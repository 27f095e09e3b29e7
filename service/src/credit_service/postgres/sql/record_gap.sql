-- Records that offsets were skipped because the log no longer has them, once.
INSERT INTO credits.offset_gaps (topic, partition, expected_offset, resumed_offset, log_end_offset, noticed_at)
VALUES ($1, $2, $3, $4, $5, credits.ledger_now())
ON CONFLICT DO NOTHING;
