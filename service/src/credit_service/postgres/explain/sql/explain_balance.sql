-- The balance that was published with the balance change $2 of account $1; every line of the change has it.
SELECT e.balance
FROM credits.entries AS e
WHERE e.account_no = $1 AND e.sequence = $2
LIMIT 1;
