-- How many dead letters wait, by reason: of the first $1 that do.
SELECT reason, count(*), count(content_sha256) AS left_out
FROM (SELECT reason, content_sha256 FROM credits.dead_letters WHERE status = 'waiting' LIMIT $1) AS waiting
GROUP BY reason
ORDER BY count(*) DESC, reason;
