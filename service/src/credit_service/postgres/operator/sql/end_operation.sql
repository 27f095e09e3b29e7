-- Records the end of an operation.
UPDATE credits.operations
SET ended_at = credits.ledger_now(), ended_as = $2, result = $3::json
WHERE operation_id = $1;
