-- The first $5 ids of waiting dead letters above $1 and up to $2: of the topic $3 and the reason $4, null for any.
SELECT dead_letter_id
FROM credits.dead_letters
WHERE status = 'waiting' AND dead_letter_id > $1 AND dead_letter_id <= $2
    AND ($3::text IS NULL OR topic = $3)
    AND ($4::text IS NULL OR reason = $4)
ORDER BY dead_letter_id
LIMIT $5;
