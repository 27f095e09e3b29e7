-- The waiting dead letters by reason, among the first $1.
SELECT reason, count(*), count(content_sha256) AS left_out
FROM (SELECT reason, content_sha256 FROM credits.dead_letters WHERE status = 'waiting' LIMIT $1) AS waiting
GROUP BY reason
ORDER BY count(*) DESC, reason;
