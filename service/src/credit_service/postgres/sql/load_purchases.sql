-- Which of the given purchases were counted before.
SELECT p.account_id, p.purchase_id
FROM unnest($1::text [], $2::text []) AS asked (account_id, purchase_id)
JOIN credits.purchases AS p ON p.account_id = asked.account_id AND p.purchase_id = asked.purchase_id;
