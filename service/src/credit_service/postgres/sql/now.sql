-- The only clock.
SELECT credits.ledger_now();
