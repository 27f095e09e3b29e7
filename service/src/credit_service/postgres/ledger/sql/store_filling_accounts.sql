-- Notes the accounts that are filling up, once each.
INSERT INTO credits.accounts_filling (account_no, noted_at)
SELECT filling.account_no, credits.ledger_now()
FROM unnest($1::integer []) AS filling (account_no)
ORDER BY filling.account_no
ON CONFLICT (account_no) DO NOTHING;
