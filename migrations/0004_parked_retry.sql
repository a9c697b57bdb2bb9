-- Parked streams can be tried again, or their event passed over. Two columns without a rewrite, and
-- a new table: it can be added while the system runs.

alter table log.parked
    -- Somebody asked for another try; the consumer itself makes it. Null when none is under way.
    add column retry_requested_at timestamptz,
    -- Times that try was begun since it last got on: more than a few, and it kills the process.
    add column retry_starts integer not null default 0;

-- Events that a consumer passes over, because somebody decided so. A rebuild does, too.
create table log.skipped (
    consumer   text        not null collate "C",
    position   bigint      not null,
    -- What was parked for it.
    stream_id  text        not null collate "C",
    -- What was wrong with it.
    error      text        not null,
    reason     text        not null,
    skipped_by text        not null,
    skipped_at timestamptz not null default clock_timestamp(),
    constraint skipped_key primary key (consumer, position)
);

comment on table log.skipped is 'Decisions of people, not to be had again from the log: never deleted.';

grant select, insert on log.skipped to tributary_app;
