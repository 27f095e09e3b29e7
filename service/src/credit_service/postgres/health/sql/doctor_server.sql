-- The server's version, the settings on which the durability of commits depends, and whether the server is read-only.
SELECT
    current_setting('server_version'), current_setting('server_version_num')::integer, current_setting('fsync'),
    current_setting('full_page_writes'), current_setting('synchronous_commit'), pg_is_in_recovery();
