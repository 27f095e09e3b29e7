-- Moves a stored offset past offsets that the log no longer has (or never had), or that an operator skips, and records
-- the gap. The one row is false if another member has moved it already.
WITH moved AS (
    UPDATE credits.partition_offsets
    SET next_offset = $4
    WHERE topic = $1 AND partition = $2 AND next_offset = $3
    RETURNING topic, partition
),

recorded AS (
    INSERT INTO credits.offset_gaps (topic, partition, expected_offset, resumed_offset, log_end_offset, noticed_at)
    SELECT topic, partition, $3, $4, $5, credits.ledger_now()
    FROM moved
    ON CONFLICT DO NOTHING
)

SELECT count(*) > 0 FROM moved;
