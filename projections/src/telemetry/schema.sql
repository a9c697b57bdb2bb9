-- Read model of telemetry. Names have no schema: the live and the shadow schema share this text.

-- One row per reading. A hypertable with TimescaleDB, else partitioned by week.
do $$
declare
    timescale text := (
        select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
        where e.extname = 'timescaledb'
    );
begin
    execute $table$
        create table reading (
            device      bigint      not null, -- device.number
            time        timestamptz not null, -- device time; time of receipt if none was sent
            received_at timestamptz not null,
            sequence_id bigint      not null,
            position    bigint      not null, -- of the reading's event; orders equal times
            temperature double precision,
            battery     integer,
            boot_id     text        not null, -- empty if none was sent
            extra_data  jsonb,                -- every further field, unchanged
            constraint reading_key primary key (device, time, position)
        )
    $table$ || case when timescale is null then 'partition by range (time)' else '' end;
    if timescale is not null then
        execute format(
            'select %I.create_hypertable(%L, %L, chunk_time_interval => interval ''7 days'',
                                         create_default_indexes => false)',
            timescale, format('%I.reading', current_schema()), 'time'
        );
    end if;
end
$$;

-- Creates the partitions that begin on these Mondays. Attaching an existing table takes no lock
-- that blocks reads or writes of the others.
create function ensure_partitions(weeks date[]) returns void language plpgsql as $$
declare
    week date;
    name text;
begin
    if (select relkind from pg_class where oid = to_regclass('reading')) <> 'p' then
        return; -- A hypertable makes its own.
    end if;
    foreach week in array weeks loop
        name := 'reading_' || to_char(week, 'YYYYMMDD');
        if to_regclass(format('%I.%I', current_schema(), name)) is null then
            execute format('create table %I (like reading including all)', name);
            execute format(
                'alter table reading attach partition %I for values from (%L) to (%L)', name,
                week::timestamp at time zone 'UTC', (week + 7)::timestamp at time zone 'UTC'
            );
        end if;
    end loop;
end
$$;

-- Each device: its last reading, its number of readings, its presence.
create table device (
    user_id          text        not null collate "C",
    device_id        text        not null collate "C",
    number           bigint      not null, -- position of its first event; the short key of its rows
    version          bigint      not null, -- of its stream; expected version of presence decisions
    first_seen_at    timestamptz not null,
    last_seen_at     timestamptz not null, -- time of receipt of its last message of any kind
    readings         bigint      not null,
    time             timestamptz,          -- of the last reading in device time, not by arrival
    reading_position bigint,
    sequence_id      bigint,
    boot_id          text,
    temperature      double precision,
    battery          integer,
    extra_data       jsonb,
    read_position    bigint,               -- of the last reading by arrival
    read_at          timestamptz,
    -- The fields of domain::telemetry::presence. `told_*`: the last event that had an effect.
    online           boolean,              -- null before the first such event
    reason           text,
    online_since     timestamptz,          -- time of the last change of `online`
    told_position    bigint,
    told_at          timestamptz,
    session_seq      bigint,
    session_boot_id  text,
    session_ended    boolean,
    constraint device_key primary key (user_id, device_id),
    constraint device_reason_is_known
        check (reason in ('birth', 'will', 'inactive', 'heard')),
    constraint device_is_told_as_a_whole
        check (num_nulls(online, reason, online_since, told_position, told_at) in (0, 5))
) with (fillfactor = 70); -- No index on columns that a reading changes: HOT updates.

-- How long a user's devices may be silent before they are inactive.
create table presence_setting (
    user_id           text        not null collate "C",
    version           bigint      not null, -- of the setting's stream
    inactive_after_ms bigint,               -- milliseconds; null: the worker's default
    updated_at        timestamptz not null,
    constraint presence_setting_key primary key (user_id)
);

-- Aggregates of every numeric field per device and bucket. Additive: a late reading is added.
create table rollup (
    device         bigint      not null, -- device.number
    field          text        not null collate "C",
    width          integer     not null, -- seconds: 60, 3600 or 86400
    bucket         timestamptz not null,
    count          bigint      not null,
    sum            numeric     not null, -- whole billionths: exact in any order of addition
    min            double precision not null,
    max            double precision not null,
    first          double precision not null,
    first_at       timestamptz not null,
    first_position bigint      not null,
    last           double precision not null,
    last_at        timestamptz not null,
    last_position  bigint      not null,
    constraint rollup_key primary key (device, width, field, bucket)
) with (fillfactor = 70);
