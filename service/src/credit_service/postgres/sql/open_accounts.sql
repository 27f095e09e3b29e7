-- Opens the accounts that are new; the others are left as they are.
INSERT INTO credits.accounts (account_id, partition_hash)
SELECT account_id, partition_hash
FROM unnest($1::text [], $2::integer []) AS named (account_id, partition_hash)
ORDER BY account_id COLLATE "C"
ON CONFLICT (account_id) DO NOTHING;
