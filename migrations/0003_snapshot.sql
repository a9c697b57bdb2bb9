-- Snapshots: what a consumer of the log remembers of each of its keys, so that it need not fold the
-- whole log when it starts. A new table and nothing else, so that it can be added while the system
-- runs.

create table log.snapshot (
    consumer text not null collate "C",
    -- What the state is about, in the consumer's own words.
    key      text not null collate "C",
    -- json, not jsonb: written often, read once a start.
    state    json not null,
    constraint snapshot_key primary key (consumer, key)
) with (fillfactor = 50); -- Rewritten while its device reports: room for the new version on the page.

comment on table log.snapshot is 'Folds of the log. Can be deleted with their checkpoint: they are made again.';

grant select, insert, update, delete on log.snapshot to tributary_app;
