-- The highest id of a dead letter.
SELECT coalesce(max(dead_letter_id), 0)
FROM credits.dead_letters;
