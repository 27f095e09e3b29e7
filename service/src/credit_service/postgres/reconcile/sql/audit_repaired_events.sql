-- The events that repairs published, or were about to.
SELECT json_array_elements_text(arguments -> 'published') AS event_id
FROM credits.operations
WHERE kind = 'repair';
