-- Pauses a topic for all members.
INSERT INTO credits.paused_topics (topic, paused_at, reason)
VALUES ($1, credits.ledger_now(), $2)
ON CONFLICT (topic) DO NOTHING;
