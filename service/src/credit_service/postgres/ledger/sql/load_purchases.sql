-- Those of the given purchases that were counted before.
SELECT p.account_no, p.purchase_id
FROM unnest($1::integer [], $2::text []) AS asked (account_no, purchase_id)
JOIN credits.purchases AS p ON p.account_no = asked.account_no AND p.purchase_id = asked.purchase_id;
