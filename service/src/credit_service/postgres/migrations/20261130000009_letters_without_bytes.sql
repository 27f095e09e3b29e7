-- migrate:up

-- A topic that floods brings more bytes of dead letters in a day than a deployment wants to keep. Of those beyond its
-- budget the place, the reason, the size and the hashes are kept, and the bytes are left to Kafka.
SET LOCAL lock_timeout = '5s';

ALTER TABLE credits.dead_letters
    -- Of key, value and headers together, in the form that `digest` is made of; null where the bytes are here.
    ADD COLUMN content_sha256 bytea,
    -- Null where the key was kept, or there was none.
    ADD COLUMN key_bytes bigint,
    -- Null where there was no value.
    ADD COLUMN value_bytes bigint,
    ADD COLUMN value_sha256 bytea;
ALTER TABLE credits.dead_letters ADD CONSTRAINT left_out_is_whole CHECK (
    CASE
        WHEN content_sha256 IS NULL THEN key_bytes IS NULL AND value_bytes IS NULL AND value_sha256 IS NULL
        ELSE length(content_sha256) = 32 AND value IS NULL AND erased_at IS NULL
            AND (key_bytes IS NULL OR key IS NULL)
            AND coalesce(value_bytes >= 0 AND length(value_sha256) = 32, value_bytes IS NULL AND value_sha256 IS NULL)
    END
) NOT VALID;

-- Bytes that the dead letters of a topic brought on a day of UTC, kept or not: one row a topic and day.
CREATE TABLE credits.dead_letter_bytes (
    topic text COLLATE "C" NOT NULL,
    day date NOT NULL,
    bytes bigint NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (topic, day)
) WITH (fillfactor = 50);
ALTER TABLE credits.dead_letter_bytes OWNER TO credits_owner;

GRANT SELECT, INSERT, UPDATE (bytes) ON credits.dead_letter_bytes TO credits_service;
GRANT SELECT ON credits.dead_letter_bytes TO credits_reader;
GRANT
    INSERT (content_sha256, key_bytes, value_bytes, value_sha256),
    UPDATE (content_sha256, key_bytes, value_bytes, value_sha256)
ON credits.dead_letters TO credits_service;
-- What is published in place of a value.
GRANT SELECT (value_bytes, value_sha256) ON credits.dead_letters TO credits_relay;

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
