-- A change of a token finds room for the new row on its page, so that no index but those of changed columns is written. A
-- large table is cleaned up after some ten thousand changes, not after a fifth of its rows. Neither rewrites the table.
ALTER TABLE tokens SET (
    fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02
);
