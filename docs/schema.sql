-- The schema after `tributary migrate`.
-- TRIBUTARY_UPDATE=1 cargo test --workspace --test it schema:: rewrites it.

CREATE SCHEMA alerts;

COMMENT ON SCHEMA alerts IS 'version 3';

CREATE SCHEMA documents;

COMMENT ON SCHEMA documents IS 'version 1';

CREATE SCHEMA host;

COMMENT ON SCHEMA host IS 'version 1';

CREATE SCHEMA log;

CREATE SCHEMA order_list;

COMMENT ON SCHEMA order_list IS 'version 3';

CREATE SCHEMA page_views;

COMMENT ON SCHEMA page_views IS 'version 1';

CREATE SCHEMA projects;

COMMENT ON SCHEMA projects IS 'version 2';

CREATE SCHEMA stock_level;

COMMENT ON SCHEMA stock_level IS 'version 2';

CREATE SCHEMA telemetry;

COMMENT ON SCHEMA telemetry IS 'version 7';

CREATE SCHEMA trace;

COMMENT ON SCHEMA trace IS 'version 1';

CREATE SCHEMA users;

COMMENT ON SCHEMA users IS 'version 3';

CREATE SCHEMA works;

COMMENT ON SCHEMA works IS 'version 2';

CREATE FUNCTION telemetry.add_partition(name text, since timestamp with time zone, until timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET lock_timeout TO '200ms'
    AS $_$
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
$_$;

CREATE FUNCTION telemetry.ensure_partitions(weeks date[]) RETURNS void
    LANGUAGE plpgsql
    AS $_$
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
$_$;

CREATE FUNCTION telemetry.mean(sum numeric, count numeric) RETURNS double precision
    LANGUAGE sql IMMUTABLE
    AS $$
    select case when abs(sum / count) <= 2.4703282292062328e-324 then 0
                else (sum / count)::double precision end
$$;

CREATE TABLE alerts.alert (
    id uuid NOT NULL,
    user_id text NOT NULL COLLATE pg_catalog."C",
    device_id text NOT NULL COLLATE pg_catalog."C",
    rule_id uuid NOT NULL,
    rule text NOT NULL,
    severity text NOT NULL,
    message text NOT NULL,
    raised_value json,
    value json,
    threshold json,
    state text NOT NULL,
    raised_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    cleared_at timestamp with time zone,
    cleared_because text,
    breaches bigint NOT NULL,
    acknowledged_by text,
    acknowledged_at timestamp with time zone,
    raised_position bigint NOT NULL,
    "position" bigint NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT alert_state_is_known CHECK ((state = ANY (ARRAY['active'::text, 'cleared'::text])))
)
WITH (fillfactor='80');

CREATE TABLE alerts.config (
    scope text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    config json NOT NULL,
    configured_at timestamp with time zone NOT NULL
);

CREATE TABLE documents.document (
    id uuid NOT NULL,
    owner_id uuid NOT NULL,
    schema_name text COLLATE pg_catalog."C",
    schema_version bigint,
    data json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT document_schema_is_whole CHECK (((schema_name IS NULL) = (schema_version IS NULL)))
);

CREATE TABLE documents.schema (
    name text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    schema json NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE TABLE host.sample (
    host text NOT NULL COLLATE pg_catalog."C",
    "time" timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    users bigint NOT NULL,
    storage_total bigint NOT NULL,
    storage_used bigint NOT NULL,
    storage_free bigint NOT NULL,
    memory_total bigint NOT NULL,
    memory_used bigint NOT NULL,
    load double precision[] NOT NULL,
    "position" bigint NOT NULL
);

CREATE TABLE log.checkpoint (
    consumer text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    recorded_at timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    starts integer DEFAULT 0 NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    earlier_position bigint,
    earlier_at timestamp with time zone,
    later_position bigint,
    later_at timestamp with time zone,
    error text,
    error_since timestamp with time zone,
    warning text
)
WITH (fillfactor='50');

CREATE TABLE log.deadline (
    consumer text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    due_at timestamp with time zone NOT NULL,
    metadata json NOT NULL
);

COMMENT ON TABLE log.deadline IS 'A fold of the log. Can be deleted with the checkpoint of its consumer, which then folds again.';

CREATE TABLE log.deployment (
    one boolean DEFAULT true NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT deployment_has_one_row CHECK (one)
);

CREATE TABLE log.event (
    "position" bigint NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    event_id uuid NOT NULL,
    schema_version smallint NOT NULL,
    event_type text NOT NULL COLLATE pg_catalog."C",
    stream_id text NOT NULL COLLATE pg_catalog."C",
    data json NOT NULL,
    metadata json NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT event_version_is_positive CHECK ((version > 0))
)
WITH (autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_analyze_scale_factor='0.02');

COMMENT ON TABLE log.event IS 'Immutable facts. Never updated, never deleted.';

CREATE TABLE log.head (
    one boolean DEFAULT true NOT NULL,
    "position" bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    hash bytea NOT NULL,
    epoch bigint NOT NULL,
    CONSTRAINT head_has_one_row CHECK (one)
)
WITH (fillfactor='10');

CREATE TABLE log.lease (
    name text NOT NULL COLLATE pg_catalog."C",
    owner uuid NOT NULL,
    until timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

COMMENT ON TABLE log.lease IS 'Keeps work from being done twice over; never the reason why a result is right.';

CREATE TABLE log.parked (
    consumer text NOT NULL COLLATE pg_catalog."C",
    stream_id text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    attempts integer NOT NULL,
    error text NOT NULL,
    parked boolean NOT NULL,
    parked_at timestamp with time zone DEFAULT now() NOT NULL,
    retry_requested_at timestamp with time zone,
    retry_starts integer DEFAULT 0 NOT NULL
);

CREATE TABLE log.receipt (
    key text NOT NULL COLLATE pg_catalog."C",
    fingerprint bytea NOT NULL,
    "position" bigint NOT NULL,
    response json NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);

CREATE TABLE log.skipped (
    consumer text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    stream_id text NOT NULL COLLATE pg_catalog."C",
    error text NOT NULL,
    reason text NOT NULL,
    skipped_by text NOT NULL,
    skipped_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

COMMENT ON TABLE log.skipped IS 'Decisions of people, not to be had again from the log: never deleted.';

CREATE TABLE log.snapshot (
    consumer text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    state json NOT NULL
)
WITH (fillfactor='50');

COMMENT ON TABLE log.snapshot IS 'Folds of the log. Can be deleted with their checkpoint: they are made again.';

CREATE TABLE order_list.history (
    order_id uuid NOT NULL,
    "position" bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    event text NOT NULL,
    product_id uuid,
    quantity bigint,
    available bigint
);

CREATE TABLE order_list.purchase (
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    status text NOT NULL,
    reason text,
    currency text NOT NULL,
    total text NOT NULL,
    items json NOT NULL,
    reserve_until timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT purchase_status_is_known CHECK ((status = ANY (ARRAY['pending'::text, 'confirmed'::text, 'shipped'::text, 'cancelled'::text])))
)
WITH (fillfactor='80');

CREATE TABLE page_views.page (
    id uuid NOT NULL,
    path text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE page_views.rollup (
    page uuid NOT NULL,
    width integer NOT NULL,
    bucket timestamp with time zone NOT NULL,
    views bigint NOT NULL,
    sessions bigint NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE page_views.visit (
    page uuid NOT NULL,
    width integer NOT NULL,
    bucket timestamp with time zone NOT NULL,
    session uuid NOT NULL
);

CREATE TABLE projects.member (
    project_id uuid NOT NULL,
    user_id uuid NOT NULL,
    archived boolean NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE TABLE projects.project (
    id uuid NOT NULL,
    name text NOT NULL,
    description text,
    owner_id uuid NOT NULL,
    archived boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE projects.task (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    title text NOT NULL,
    description text,
    assignee_id uuid,
    status text NOT NULL,
    due_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT task_status_is_known CHECK ((status = ANY (ARRAY['ToDo'::text, 'InProgress'::text, 'Done'::text])))
)
WITH (fillfactor='80');

CREATE TABLE public._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);

CREATE TABLE stock_level.product (
    id uuid NOT NULL,
    sku text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    price text NOT NULL,
    currency text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE stock_level.stock (
    product_id uuid NOT NULL,
    received bigint NOT NULL,
    available bigint NOT NULL,
    reserved bigint NOT NULL,
    shipped bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT stock_available_is_not_negative CHECK ((available >= 0)),
    CONSTRAINT stock_is_conserved CHECK ((received = ((available + reserved) + shipped))),
    CONSTRAINT stock_reserved_is_not_negative CHECK ((reserved >= 0))
)
WITH (fillfactor='50');

CREATE TABLE telemetry.device (
    user_id text NOT NULL COLLATE pg_catalog."C",
    device_id text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    version bigint NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    readings bigint NOT NULL,
    "time" timestamp with time zone,
    unset_time timestamp with time zone,
    reading_position bigint,
    sequence_id bigint,
    boot_id text,
    temperature double precision,
    battery double precision,
    extra_data json,
    read_position bigint,
    read_at timestamp with time zone,
    online boolean,
    reason text,
    online_since timestamp with time zone,
    told_position bigint,
    told_at timestamp with time zone,
    session_seq bigint,
    session_boot_id text,
    session_ended boolean,
    session_superseded bigint,
    fields jsonb NOT NULL,
    other_fields jsonb NOT NULL,
    values_not_aggregated bigint NOT NULL,
    CONSTRAINT device_is_told_as_a_whole CHECK ((num_nulls(online, reason, online_since, told_position, told_at) = ANY (ARRAY[0, 5]))),
    CONSTRAINT device_reason_is_known CHECK ((reason = ANY (ARRAY['birth'::text, 'will'::text, 'inactive'::text, 'heard'::text])))
)
WITH (fillfactor='70');

CREATE TABLE telemetry.limits (
    fields_per_device integer DEFAULT 128 NOT NULL,
    weeks_back integer DEFAULT 104 NOT NULL,
    weeks_ahead integer DEFAULT 4 NOT NULL
);

CREATE TABLE telemetry.presence_setting (
    user_id text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    inactive_after_ms bigint,
    updated_at timestamp with time zone NOT NULL
);

CREATE TABLE telemetry.reading (
    device bigint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    unset_time timestamp with time zone,
    sequence_id bigint NOT NULL,
    "position" bigint NOT NULL,
    temperature double precision,
    battery double precision,
    boot_id text NOT NULL,
    extra_data json
)
PARTITION BY RANGE ("time");

CREATE TABLE telemetry.reading_later (
    device bigint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    unset_time timestamp with time zone,
    sequence_id bigint NOT NULL,
    "position" bigint NOT NULL,
    temperature double precision,
    battery double precision,
    boot_id text NOT NULL,
    extra_data json
);

CREATE TABLE telemetry.rejection (
    "position" bigint NOT NULL,
    rejected_at timestamp with time zone NOT NULL,
    user_id text COLLATE pg_catalog."C",
    device_id text COLLATE pg_catalog."C",
    topic text NOT NULL,
    reason text NOT NULL,
    size bigint NOT NULL,
    payload text NOT NULL,
    encoding text NOT NULL
);

CREATE TABLE telemetry.rejection_count (
    user_id text NOT NULL COLLATE pg_catalog."C",
    device_id text NOT NULL COLLATE pg_catalog."C",
    rejected bigint NOT NULL
);

CREATE TABLE telemetry.rollup (
    device bigint NOT NULL,
    field text NOT NULL COLLATE pg_catalog."C",
    width integer NOT NULL,
    bucket timestamp with time zone NOT NULL,
    count bigint NOT NULL,
    sum numeric NOT NULL,
    min double precision NOT NULL,
    max double precision NOT NULL,
    first double precision NOT NULL,
    first_at timestamp with time zone NOT NULL,
    first_position bigint NOT NULL,
    last double precision NOT NULL,
    last_at timestamp with time zone NOT NULL,
    last_position bigint NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE trace.link (
    "position" bigint NOT NULL,
    event_id uuid NOT NULL,
    correlation_id uuid,
    causation_id uuid
);

CREATE TABLE users.account (
    id uuid NOT NULL,
    email text NOT NULL COLLATE pg_catalog."C",
    full_name text NOT NULL,
    role text NOT NULL,
    namespace text COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT account_role_is_known CHECK ((role = ANY (ARRAY['user'::text, 'operator'::text, 'admin'::text])))
);

CREATE TABLE users.session (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    refreshed_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
)
WITH (fillfactor='80');

CREATE TABLE works.work (
    id uuid NOT NULL,
    work_code text NOT NULL,
    add_up_to bigint NOT NULL,
    done boolean NOT NULL,
    status text NOT NULL,
    result bigint,
    attempts integer NOT NULL,
    worker text,
    reason text,
    due_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT work_status_is_known CHECK ((status = ANY (ARRAY['demanded'::text, 'claimed'::text, 'started'::text, 'completed'::text, 'failed'::text, 'given_up'::text])))
)
WITH (fillfactor='80');

ALTER TABLE ONLY telemetry.reading ATTACH PARTITION telemetry.reading_later DEFAULT;

ALTER TABLE ONLY alerts.alert
    ADD CONSTRAINT alert_key PRIMARY KEY (id);

ALTER TABLE ONLY alerts.config
    ADD CONSTRAINT config_key PRIMARY KEY (scope);

ALTER TABLE ONLY documents.document
    ADD CONSTRAINT document_key PRIMARY KEY (id);

ALTER TABLE ONLY documents.schema
    ADD CONSTRAINT schema_key PRIMARY KEY (name, version);

ALTER TABLE ONLY host.sample
    ADD CONSTRAINT sample_key PRIMARY KEY (host, "time");

ALTER TABLE ONLY log.checkpoint
    ADD CONSTRAINT checkpoint_key PRIMARY KEY (consumer);

ALTER TABLE ONLY log.deadline
    ADD CONSTRAINT deadline_key PRIMARY KEY (consumer, key);

ALTER TABLE ONLY log.deployment
    ADD CONSTRAINT deployment_pkey PRIMARY KEY (one);

ALTER TABLE ONLY log.event
    ADD CONSTRAINT event_id_key UNIQUE (event_id);

ALTER TABLE ONLY log.event
    ADD CONSTRAINT event_position_key PRIMARY KEY ("position");

ALTER TABLE ONLY log.event
    ADD CONSTRAINT event_stream_version_key UNIQUE (stream_id, version);

ALTER TABLE ONLY log.head
    ADD CONSTRAINT head_pkey PRIMARY KEY (one);

ALTER TABLE ONLY log.lease
    ADD CONSTRAINT lease_key PRIMARY KEY (name);

ALTER TABLE ONLY log.parked
    ADD CONSTRAINT parked_key PRIMARY KEY (consumer, stream_id);

ALTER TABLE ONLY log.receipt
    ADD CONSTRAINT receipt_key PRIMARY KEY (key);

ALTER TABLE ONLY log.skipped
    ADD CONSTRAINT skipped_key PRIMARY KEY (consumer, "position");

ALTER TABLE ONLY log.snapshot
    ADD CONSTRAINT snapshot_key PRIMARY KEY (consumer, key);

ALTER TABLE ONLY order_list.history
    ADD CONSTRAINT history_key PRIMARY KEY (order_id, "position");

ALTER TABLE ONLY order_list.purchase
    ADD CONSTRAINT purchase_key PRIMARY KEY (id);

ALTER TABLE ONLY page_views.page
    ADD CONSTRAINT page_key PRIMARY KEY (id);

ALTER TABLE ONLY page_views.rollup
    ADD CONSTRAINT rollup_key PRIMARY KEY (page, width, bucket);

ALTER TABLE ONLY page_views.visit
    ADD CONSTRAINT visit_key PRIMARY KEY (page, width, bucket, session);

ALTER TABLE ONLY projects.member
    ADD CONSTRAINT member_key PRIMARY KEY (project_id, user_id);

ALTER TABLE ONLY projects.project
    ADD CONSTRAINT project_key PRIMARY KEY (id);

ALTER TABLE ONLY projects.task
    ADD CONSTRAINT task_key PRIMARY KEY (id);

ALTER TABLE ONLY public._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY stock_level.product
    ADD CONSTRAINT product_key PRIMARY KEY (id);

ALTER TABLE ONLY stock_level.stock
    ADD CONSTRAINT stock_key PRIMARY KEY (product_id);

ALTER TABLE ONLY telemetry.device
    ADD CONSTRAINT device_key PRIMARY KEY (user_id, device_id);

ALTER TABLE ONLY telemetry.presence_setting
    ADD CONSTRAINT presence_setting_key PRIMARY KEY (user_id);

ALTER TABLE ONLY telemetry.reading
    ADD CONSTRAINT reading_key PRIMARY KEY (device, "time", "position");

ALTER TABLE ONLY telemetry.reading_later
    ADD CONSTRAINT reading_later_pkey PRIMARY KEY (device, "time", "position");

ALTER TABLE ONLY telemetry.rejection_count
    ADD CONSTRAINT rejection_count_key PRIMARY KEY (user_id, device_id);

ALTER TABLE ONLY telemetry.rejection
    ADD CONSTRAINT rejection_key PRIMARY KEY ("position");

ALTER TABLE ONLY telemetry.rollup
    ADD CONSTRAINT rollup_key PRIMARY KEY (device, width, bucket, field);

ALTER TABLE ONLY trace.link
    ADD CONSTRAINT link_key PRIMARY KEY ("position");

ALTER TABLE ONLY users.account
    ADD CONSTRAINT account_key PRIMARY KEY (id);

ALTER TABLE ONLY users.session
    ADD CONSTRAINT session_key PRIMARY KEY (id);

ALTER TABLE ONLY works.work
    ADD CONSTRAINT work_key PRIMARY KEY (id);

CREATE INDEX alert_device_idx ON alerts.alert USING btree (device_id, state, severity, ((acknowledged_at IS NOT NULL)), raised_position);

CREATE INDEX alert_raised_idx ON alerts.alert USING btree (state, severity, ((acknowledged_at IS NOT NULL)), raised_position);

CREATE INDEX alert_user_device_idx ON alerts.alert USING btree (user_id, device_id, state, severity, ((acknowledged_at IS NOT NULL)), raised_position);

CREATE INDEX alert_user_idx ON alerts.alert USING btree (user_id, state, severity, ((acknowledged_at IS NOT NULL)), raised_position);

CREATE INDEX document_created_idx ON documents.document USING btree (created_at, id);

CREATE INDEX document_owner_idx ON documents.document USING btree (owner_id, created_at, id);

CREATE INDEX sample_time ON host.sample USING btree ("time", host);

CREATE INDEX deadline_due_idx ON log.deadline USING btree (consumer, due_at, key);

CREATE INDEX receipt_recorded_at_idx ON log.receipt USING btree (recorded_at);

CREATE INDEX purchase_customer_idx ON order_list.purchase USING btree (customer_id, status, created_at, id);

CREATE INDEX purchase_due_idx ON order_list.purchase USING btree (reserve_until) WHERE (reserve_until IS NOT NULL);

CREATE INDEX purchase_status_idx ON order_list.purchase USING btree (status, created_at, id);

CREATE INDEX rollup_bucket_idx ON page_views.rollup USING btree (width, bucket);

CREATE INDEX member_user_idx ON projects.member USING btree (user_id, archived, created_at, project_id);

CREATE INDEX project_created_idx ON projects.project USING btree (archived, created_at, id);

CREATE INDEX project_owner_idx ON projects.project USING btree (owner_id, archived, created_at, id);

CREATE INDEX task_assignee_idx ON projects.task USING btree (assignee_id, status, created_at, id) WHERE (assignee_id IS NOT NULL);

CREATE INDEX task_project_assignee_idx ON projects.task USING btree (project_id, assignee_id, status, created_at, id) WHERE (assignee_id IS NOT NULL);

CREATE INDEX task_project_idx ON projects.task USING btree (project_id, status, created_at, id);

CREATE INDEX task_status_idx ON projects.task USING btree (status, created_at, id);

CREATE INDEX product_sku_idx ON stock_level.product USING btree (sku, id);

CREATE INDEX device_offline_idx ON telemetry.device USING btree (online_since, user_id, device_id) WHERE (NOT online);

CREATE INDEX device_online_idx ON telemetry.device USING btree (online, user_id, device_id);

CREATE INDEX device_user_offline_idx ON telemetry.device USING btree (user_id, online_since, device_id) WHERE (NOT online);

CREATE INDEX rejection_device_idx ON telemetry.rejection USING btree (user_id, device_id, rejected_at, "position");

CREATE INDEX rejection_time_idx ON telemetry.rejection USING btree (rejected_at, "position");

CREATE INDEX rejection_user_idx ON telemetry.rejection USING btree (user_id, rejected_at, "position");

CREATE INDEX link_correlation_idx ON trace.link USING btree (correlation_id, "position") WHERE (correlation_id IS NOT NULL);

CREATE INDEX account_created_idx ON users.account USING btree (created_at, id);

CREATE UNIQUE INDEX session_user_idx ON users.session USING btree (user_id, created_at, id);

CREATE INDEX work_code_idx ON works.work USING btree (work_code, status, created_at, id);

CREATE INDEX work_due_idx ON works.work USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX work_status_idx ON works.work USING btree (status, created_at, id);

ALTER INDEX telemetry.reading_key ATTACH PARTITION telemetry.reading_later_pkey;

GRANT USAGE ON SCHEMA log TO tributary_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE log.checkpoint TO tributary_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE log.deadline TO tributary_app;

GRANT SELECT ON TABLE log.deployment TO tributary_app;

GRANT SELECT,INSERT ON TABLE log.event TO tributary_app;

GRANT SELECT,UPDATE ON TABLE log.head TO tributary_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE log.lease TO tributary_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE log.parked TO tributary_app;

GRANT SELECT,INSERT,DELETE ON TABLE log.receipt TO tributary_app;

GRANT SELECT,INSERT ON TABLE log.skipped TO tributary_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE log.snapshot TO tributary_app;

GRANT SELECT ON TABLE public._sqlx_migrations TO tributary_app;
