-- Records a failed retry of dead letters, with its reason and detail.
UPDATE credits.dead_letters AS l
SET
    retries = l.retries + 1,
    retried_at = credits.ledger_now(),
    retry_reason = failed.reason,
    retry_detail = failed.detail
FROM unnest($1::bigint [], $2::text [], $3::text []) AS failed (dead_letter_id, reason, detail)
WHERE l.dead_letter_id = failed.dead_letter_id AND l.status = 'waiting';
