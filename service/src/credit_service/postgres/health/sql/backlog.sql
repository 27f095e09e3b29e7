-- The backlog, each part counted up to $1: outgoing events and the age of the oldest, parked events, dead letters,
-- refund requests, gaps in the offsets, paused topics, accounts with a timer more than a minute late, accounts that are
-- filling up; the highest account number; rows that are set aside, rows that wait behind them, and the first row that
-- is set aside. The oldest outgoing event is searched among the first $2.
SELECT
    (SELECT count(*) FROM (SELECT FROM credits.outbox ORDER BY outbox_id LIMIT $1) AS counted),
    (
        SELECT
            coalesce(
                greatest(extract(EPOCH FROM credits.ledger_now() - min(coalesce(o.event_time, d.created_at))), 0), 0
            )::float8
        FROM (
            SELECT event_time, dead_letter_id FROM credits.outbox ORDER BY outbox_id LIMIT $2
        ) AS o
        LEFT JOIN LATERAL (
            SELECT created_at FROM credits.dead_letters WHERE dead_letter_id = o.dead_letter_id LIMIT 1
        ) AS d ON true
    ),
    (SELECT count(*) FROM (SELECT FROM credits.parked_events ORDER BY parked_at LIMIT $1) AS counted),
    (
        SELECT count(*)
        FROM (
            SELECT FROM credits.dead_letters
            WHERE status = 'waiting' ORDER BY topic, reason, dead_letter_id LIMIT $1
        ) AS counted
    ),
    (
        SELECT count(*)
        FROM (SELECT FROM credits.refund_requests WHERE status = 'waiting' ORDER BY requested_at LIMIT $1) AS counted
    ),
    (SELECT count(*) FROM (SELECT FROM credits.offset_gaps ORDER BY gap_id LIMIT $1) AS counted),
    (SELECT count(*) FROM (SELECT FROM credits.paused_topics ORDER BY topic LIMIT $1) AS counted),
    (
        SELECT count(*)
        FROM (
            SELECT FROM credits.accounts
            WHERE next_timer_at < credits.ledger_now() - interval '1 minute' AND opening_since IS NULL
            ORDER BY next_timer_at LIMIT $1
        ) AS counted
    ),
    (SELECT count(*) FROM (SELECT FROM credits.accounts_filling ORDER BY account_no LIMIT $1) AS counted),
    (SELECT coalesce(max(account_no), 0) FROM credits.accounts),
    (
        SELECT count(*)
        FROM (SELECT FROM credits.outbox_set_aside WHERE cause IS NOT NULL ORDER BY outbox_id LIMIT $1) AS counted
    ),
    (
        SELECT count(*)
        FROM (SELECT cause FROM credits.outbox_set_aside ORDER BY outbox_id LIMIT $1) AS counted
        WHERE cause IS NULL
    ),
    (
        SELECT outbox_id || ' of ' || topic || ' (' || cause || ')'
        FROM credits.outbox_set_aside
        WHERE cause IS NOT NULL
        ORDER BY outbox_id
        LIMIT 1
    );
