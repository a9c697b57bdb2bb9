-- Read model of telemetry. Names have no schema: the live and the shadow schema share this text.

-- Limits in force, in one row: the options of the projector that started last. A shadow schema takes
-- over those of the live one, so that a rebuild aggregates the same fields.
create table limits (
    fields_per_device integer not null default 128, -- fields of `extra_data` with rollups
    weeks_back        integer not null default 104, -- weeks before this one with a partition each
    weeks_ahead       integer not null default 4    -- weeks after this one, likewise
);
do $$
begin
    if to_regclass('telemetry.limits') is not null then
        execute 'insert into limits select * from telemetry.limits';
    end if;
    if not exists (select from limits) then
        insert into limits default values;
    end if;
end
$$;

-- One row per reading. A hypertable with TimescaleDB, else partitioned by time: a partition per week
-- around now, one for everything older, and the default one for everything later.
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
            unset_time  timestamptz,          -- sent by a clock that was not set
            sequence_id bigint      not null,
            position    bigint      not null, -- of the reading's event; orders equal times
            temperature double precision,
            battery     double precision,
            boot_id     text        not null, -- empty if none was sent
            extra_data  json,                 -- every further field, unchanged; jsonb rewrites numbers
            constraint reading_key primary key (device, time, position)
        )
    $table$ || case when timescale is null then 'partition by range (time)' else '' end;
    if timescale is null then
        create table reading_later partition of reading default;
    else
        execute format(
            'select %I.create_hypertable(%L, %L, chunk_time_interval => interval ''7 days'',
                                         create_default_indexes => false)',
            timescale, format('%I.reading', current_schema()), 'time'
        );
    end if;
end
$$;

-- Creates a partition for the times before `until`, from `since` on (null: all), and moves its rows
-- out of the default partition. To attach it, Postgres locks the default partition, which holds few
-- rows and which queries seldom read. If a long query does, this fails after 200 ms.
create function add_partition(name text, since timestamptz, until timestamptz) returns void
language plpgsql set lock_timeout = '200ms' as $$
begin
    execute format('create table %I (like reading including all)', name);
    execute format(
        'with moved as (
             delete from reading_later where time >= coalesce($1, ''-infinity'') and time < $2
             returning *
         )
         insert into %I select * from moved', name
    ) using since, until;
    execute format(
        'alter table reading attach partition %I for values from (%s) to (%L)',
        name, coalesce(quote_literal(since), 'minvalue'), until
    );
end
$$;

-- Creates the partitions of these Mondays that lie within the limits. The partition of everything older
-- is created first, and its end never moves: the weeks that have gone by since the schema was created
-- keep their partitions until the next rebuild. Readings of a week without a partition are stored in
-- the default one; a later call moves them.
create function ensure_partitions(weeks date[]) returns void language plpgsql as $$
declare
    this_week   date := date_trunc('week', now() at time zone 'UTC');
    oldest_week date;
    newest_week date;
    week        date;
    name        text;
begin
    if (select relkind from pg_class where oid = to_regclass('reading')) <> 'p' then
        return; -- A hypertable makes its own.
    end if;
    select this_week - 7 * weeks_back, this_week + 7 * weeks_ahead
        into strict oldest_week, newest_week from limits;
    if to_regclass('reading_old') is null then
        perform add_partition('reading_old', null, oldest_week::timestamp at time zone 'UTC');
    end if;
    select substring(pg_get_expr(relpartbound, oid) from $bound$TO \('([^']+)'\)$bound$)::timestamptz
               at time zone 'UTC'
        into strict oldest_week from pg_class where oid = to_regclass('reading_old');
    foreach week in array weeks loop
        name := 'reading_' || to_char(week, 'YYYYMMDD');
        if week between oldest_week and newest_week and to_regclass(name) is null then
            perform add_partition(
                name, week::timestamp at time zone 'UTC', (week + 7)::timestamp at time zone 'UTC'
            );
        end if;
    end loop;
exception when lock_not_available then
    raise log 'a query reads telemetry.reading_later, partitions are created later';
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
    unset_time       timestamptz,          -- sent with it by a clock that was not set
    reading_position bigint,
    sequence_id      bigint,
    boot_id          text,
    temperature      double precision,
    battery          double precision,
    extra_data       json,
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
    session_superseded bigint,             -- number of the session before it, of the same boot
    -- Paths of fields that have rollups, in order of appearance; at most limits.fields_per_device.
    fields           jsonb       not null,
    -- Paths of its fields that are not numbers, likewise; an item of an array is not among them.
    other_fields     jsonb       not null,
    values_not_aggregated bigint not null, -- numbers of fields beyond that limit
    constraint device_key primary key (user_id, device_id),
    constraint device_reason_is_known
        check (reason in ('birth', 'will', 'inactive', 'heard')),
    constraint device_is_told_as_a_whole
        check (num_nulls(online, reason, online_since, told_position, told_at) in (0, 5))
) with (fillfactor = 70); -- No index on columns that a reading changes: HOT updates.

create index device_online_idx on device (online, user_id, device_id);
-- Of offline devices, the last gone first. A reading of an online device changes none of these columns.
create index device_offline_idx on device (online_since, user_id, device_id) where not online;
create index device_user_offline_idx on device (user_id, online_since, device_id) where not online;

-- Messages that were refused, of any sender.
create table rejection (
    position    bigint      not null, -- of its event
    rejected_at timestamptz not null, -- time of receipt
    user_id     text        collate "C", -- null if the topic names no user, likewise no device
    device_id   text        collate "C",
    topic       text        not null,
    reason      text        not null,
    size        bigint      not null, -- of the whole payload, in bytes
    payload     text        not null, -- the first 4,096 bytes
    encoding    text        not null, -- of `payload`: text or hex
    constraint rejection_key primary key (position)
);

create index rejection_time_idx on rejection (rejected_at, position);
create index rejection_user_idx on rejection (user_id, rejected_at, position);
create index rejection_device_idx on rejection (user_id, device_id, rejected_at, position);

-- The number of refused messages of each device, also of one without any other message.
create table rejection_count (
    user_id   text   not null collate "C",
    device_id text   not null collate "C",
    rejected  bigint not null,
    constraint rejection_count_key primary key (user_id, device_id)
);

-- How long a user's devices may be silent before they are inactive.
create table presence_setting (
    user_id           text        not null collate "C",
    version           bigint      not null, -- of the setting's stream
    inactive_after_ms bigint,               -- milliseconds; null: the worker's default
    updated_at        timestamptz not null,
    constraint presence_setting_key primary key (user_id)
);

-- Aggregates of every numeric field per device and bucket. Additive: a late reading is added.
--
-- A reading changes one row a field. A minute, an hour of a device is open until a reading of a later
-- one arrives, so the open ones are those of device.time. An open minute is added to its hour when it
-- closes, an open hour to its day; what is late is added at once. A row of an hour therefore lacks the
-- open minute, and a row of a day lacks the open hour: queries add the rows of these.
create table rollup (
    device         bigint      not null, -- device.number
    field          text        not null collate "C",
    width          integer     not null, -- seconds: 60, 3600 or 86400
    bucket         timestamptz not null,
    count          bigint      not null,
    sum            numeric     not null, -- of the decimal numbers: exact in any order of addition
    min            double precision not null,
    max            double precision not null,
    first          double precision not null,
    first_at       timestamptz not null,
    first_position bigint      not null,
    last           double precision not null,
    last_at        timestamptz not null,
    last_position  bigint      not null,
    constraint rollup_key primary key (device, width, bucket, field)
) with (fillfactor = 70);

-- The double nearest to a mean. The cast refuses what rounds to zero.
create function mean(sum numeric, count numeric) returns double precision
language sql immutable as $$
    select case when abs(sum / count) <= 2.4703282292062328e-324 then 0
                else (sum / count)::double precision end
$$;
