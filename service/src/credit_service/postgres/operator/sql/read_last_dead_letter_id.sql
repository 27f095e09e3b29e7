-- The highest number of a letter.
SELECT coalesce(max(dead_letter_id), 0)
FROM credits.dead_letters;
