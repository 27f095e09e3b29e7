-- The events that repairs have published, or were about to publish.
SELECT json_array_elements_text(arguments -> 'published') AS event_id
FROM credits.operations
WHERE kind = 'repair';
