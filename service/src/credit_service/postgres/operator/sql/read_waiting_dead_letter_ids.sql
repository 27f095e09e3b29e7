-- The first $5 numbers of what waits of the letters above $1 and up to $2: of the topic $3, the reason $4, or of any.
SELECT dead_letter_id
FROM credits.dead_letters
WHERE status = 'waiting' AND dead_letter_id > $1 AND dead_letter_id <= $2
    AND ($3::text IS NULL OR topic = $3)
    AND ($4::text IS NULL OR reason = $4)
ORDER BY dead_letter_id
LIMIT $5;
