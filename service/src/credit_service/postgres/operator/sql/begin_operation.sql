-- Records the start of an operation, with its operator and reason.
INSERT INTO credits.operations (started_at, kind, operator, reason, arguments)
VALUES (credits.ledger_now(), $1, $2, $3, $4::json)
RETURNING operation_id;
