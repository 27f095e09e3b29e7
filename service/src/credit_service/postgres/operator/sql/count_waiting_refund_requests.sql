-- How many requests wait, of the account $1 or of all, and the clock's time.
SELECT
    (SELECT count(*) FROM credits.refund_requests WHERE status = 'waiting' AND ($1::integer IS NULL OR account_no = $1)),
    credits.ledger_now();
