-- The event log: the one truth of the system. Everything else can be made again from it.

create schema log;

-- What the running system connects as. It may add to the log and read it, no more. It logs in
-- without a password only where the server trusts it (`tributary dev`); elsewhere the operator
-- sets one. Roles belong to the cluster, not the database, so it may be there already.
do $$
begin
    if not exists (select from pg_roles where rolname = 'tributary_app') then
        create role tributary_app login;
    end if;
exception when duplicate_object or unique_violation then
    null; -- Another database of the cluster was migrated at the same moment.
end
$$;

create table log.event (
    -- Gapless and in commit order: assigned under the lock of log.head, never by a sequence.
    position       bigint      not null constraint event_position_key primary key,
    -- How many events the stream held with this one.
    version        bigint      not null constraint event_version_is_positive check (version > 0),
    -- The store's clock at the commit's batch; never decreases with position.
    recorded_at    timestamptz not null,
    -- Chosen by the writer; the same id twice is the same event.
    event_id       uuid        not null constraint event_id_key unique,
    schema_version smallint    not null,
    event_type     text        not null collate "C",
    -- category-key; the category holds no '-'.
    stream_id      text        not null collate "C",
    -- json, not jsonb: kept to the letter, because the hash covers it, and cheaper to write.
    data           json        not null,
    metadata       json        not null,
    -- sha-256 over the previous event's hash and every column above; see eventstore::chain.
    hash           bytea       not null,
    constraint event_stream_version_key unique (stream_id, version)
);

comment on table log.event is 'Immutable facts. Never updated, never deleted.';

-- The log grows at its end for ever: freeze often and in small steps.
alter table log.event set (
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02
);

-- The end of the log. Its one row is locked from before a batch is judged until it is committed;
-- that, not a sequence, is what makes positions gapless and commit-ordered.
create table log.head (
    one         boolean     not null default true primary key constraint head_has_one_row check (one),
    position    bigint      not null,
    recorded_at timestamptz not null,
    hash        bytea       not null,
    -- A new number after a restore from backup: readers of the bus see that history forked.
    epoch       bigint      not null
) with (fillfactor = 10); -- Updated with each batch: room for the new version on the same page.

insert into log.head (position, recorded_at, hash, epoch)
values (0, 'epoch', '\x', 1);

-- What was answered to a command that carried an idempotency key. Written in the transaction that
-- holds the command's events, so there is never one without the other.
create table log.receipt (
    key         text        not null collate "C" constraint receipt_key primary key,
    -- sha-256 of what was asked: the same key for something else is refused.
    fingerprint bytea       not null,
    -- Last position the command had made when it was answered.
    position    bigint      not null,
    response    json        not null,
    recorded_at timestamptz not null
);
create index receipt_recorded_at_idx on log.receipt (recorded_at);

-- How far each consumer of the log has come. Moves only in the transaction that holds the effects.
create table log.checkpoint (
    consumer     text        not null collate "C" constraint checkpoint_key primary key,
    position     bigint      not null,
    -- recorded_at of the event at that position: what is shown as seconds behind.
    recorded_at  timestamptz not null default 'epoch',
    -- Starts since the position last moved. More than a few: something at hand kills the process.
    starts       integer     not null default 0,
    -- Written while the consumer lives, busy or idle.
    heartbeat_at timestamptz not null default now()
) with (fillfactor = 50);

-- Streams a consumer has set aside, because one of their events could not be applied.
create table log.parked (
    consumer  text        not null collate "C",
    stream_id text        not null collate "C",
    -- The event that could not be applied; later ones of the stream wait behind it.
    position  bigint      not null,
    attempts  integer     not null,
    error     text        not null,
    -- false while it is only under suspicion: an attempt is counted before it is made.
    parked    boolean     not null,
    parked_at timestamptz not null default now(),
    constraint parked_key primary key (consumer, stream_id)
);

grant usage on schema log to tributary_app;
grant select, insert on log.event to tributary_app;
grant select, update on log.head to tributary_app;
grant select, insert, delete on log.receipt to tributary_app;
grant select, insert, update, delete on log.checkpoint, log.parked to tributary_app;

-- Projections own their schemas and make them, so that they can be rebuilt and renamed.
do $$
begin
    execute format('grant create on database %I to tributary_app', current_database());
end
$$;
