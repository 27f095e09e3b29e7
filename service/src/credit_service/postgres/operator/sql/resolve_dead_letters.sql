-- Ends decided dead letters with their outcomes, operator and comment.
UPDATE credits.dead_letters AS l
SET status = 'resolved', outcome = ended.outcome, ended_at = credits.ledger_now(), operator = $3, comment = $4
FROM unnest($1::bigint [], $2::text []) AS ended (dead_letter_id, outcome)
WHERE l.dead_letter_id = ended.dead_letter_id AND l.status = 'waiting';
