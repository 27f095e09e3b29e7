-- Ends waiting dead letters without a decision, with operator and comment.
UPDATE credits.dead_letters
SET status = 'discarded', ended_at = credits.ledger_now(), operator = $2, comment = $3
WHERE dead_letter_id = any($1::bigint []) AND status = 'waiting'
RETURNING dead_letter_id;
