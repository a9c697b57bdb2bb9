-- Fills the read models for the test of list queries. An attribute of row n is the one that is asked
-- for, if `wanted(n, k)`, where k numbers the attributes of its table: the 1,000 oldest rows have all of
-- them, and for each proper subset 100 newer rows have exactly these. A plan that finds rows by one
-- attribute, and filters by another, walks past hundreds of them.
create function public.wanted(n integer, k integer) returns boolean language sql immutable as
$$ select n <= 1000 or (n <= 4100 and ((n - 1001) / 100 + 1) >> k & 1 = 1) $$;
create function public.id(kind integer, n integer) returns uuid language sql immutable as
$$ select (lpad(to_hex(kind), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
create function public.at(n integer) returns timestamptz language sql immutable as
$$ select '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 minute' $$;
create table public.n as select generate_series(1, 6000) as n;
create table public.caller as select 'ffffffff-ffff-4fff-bfff-ffffffffffff'::uuid as id,
    'eeeeeeee-eeee-4eee-beee-eeeeeeeeeeee'::uuid as of_tasks, id(0, 1) as other;

insert into users.account (id, email, full_name, role, created_at, version)
select id(1, n), n || '@example.org', 'Ada', 'user', at(n), 1 from n;

insert into users.session
select id(9, n), case when wanted(n, 0) then c.id else other end, at(n), null, '2100-01-01', n
from n, caller c;

insert into documents.document (id, owner_id, data, created_at)
select id(2, n), case when wanted(n, 0) then c.id else other end, '{}', at(n) from n, caller c;
insert into documents.schema select 'invoice', n, '{}', at(n) from n;

insert into works.work (id, work_code, add_up_to, done, status, attempts, created_at, updated_at, version)
select id(3, n), case when wanted(n, 1) then 'api-wanted' else 'api-' || n end, 4, wanted(n, 0),
       case when wanted(n, 0) then 'completed' else 'demanded' end, 0, at(n), at(n), 1
from n;

insert into order_list.purchase
    (id, customer_id, status, currency, total, items, created_at, updated_at, version)
select id(4, n), case when wanted(n, 0) then c.id else other end,
       case when wanted(n, 1) then 'shipped' else 'pending' end, 'EUR', '1', '[]', at(n), at(n), 1
from n, caller c;
insert into order_list.history select id(4, n), n, at(n), 'placed' from n;

insert into stock_level.product select id(5, n), 'SKU-' || n, 'Hat', '1', 'EUR', at(n), at(n), 1 from n;
insert into stock_level.stock select id(5, n), 1, 1, 0, 0, at(n), 1 from n;

-- The caller owns some projects and is a member of others.
insert into projects.project
select id(6, n), 'Move', null, case when wanted(n, 0) then c.id when n > 5997 then of_tasks else other end,
       not wanted(n, 1), at(n), at(n), 1
from n, caller c;
insert into projects.member
select id(6, n), c.id, not wanted(n, 1), at(n) from n, caller c where wanted(n, 2) and not wanted(n, 0);
insert into projects.task
select id(7, n), id(6, case when wanted(n, 0) then 5998 else 1 end), 'Pack', null,
       case when wanted(n, 1) then of_tasks else other end,
       case when wanted(n, 2) then 'Done' else 'ToDo' end, null, at(n), at(n), 1
from n, caller;

insert into alerts.alert
    (id, user_id, device_id, rule_id, rule, severity, message, state, raised_at, updated_at, breaches,
     acknowledged_at, raised_position, position, version)
select id(8, n), case when wanted(n, 0) then c.id else other end,
       case when wanted(n, 1) then 'd05999' else 'd' end, other, 'battery < 20',
       case when wanted(n, 3) then 'critical' else 'info' end, '',
       case when wanted(n, 2) then 'cleared' else 'active' end, at(n), at(n), 1,
       case when wanted(n, 4) then at(n) end, n, n, 1
from n, caller c;

insert into host.sample
select case when wanted(n, 0) then 'web-1' else 'db-' || n end, at(n), at(n), 1, 1, 1, 1, 1, 1,
       '{1,1,1}', n
from n;

-- Lists of devices ascend: the devices with all attributes come last.
insert into telemetry.device
    (user_id, device_id, number, version, first_seen_at, last_seen_at, readings, time, online, reason,
     online_since, told_position, told_at, fields, other_fields, values_not_aggregated)
select case when wanted(n, 0) then c.id else other end, 'd' || lpad((6000 - n)::text, 5, '0'), n, 1,
       at(n), at(n), 1, at(6000), w, case when w then 'birth' else 'will' end, at(n), n, at(n), '["a"]', '[]',
       0
from n, caller c, lateral (select wanted(n, 1) as w) online;
insert into telemetry.rejection
select n, at(n), case when wanted(n, 0) then c.id else other end,
       case when wanted(n, 1) then 'd05999' else 'd' end, 't', 'r', 1, 'p', 'text'
from n, caller c;
set search_path = telemetry;
select ensure_partitions(array['2026-01-05'::date, '2026-01-12']);
set search_path = public;
insert into telemetry.reading (device, time, received_at, sequence_id, position, boot_id)
select device, at(n), at(n), n, n, '' from n, generate_series(1, 5) as device;
insert into telemetry.rollup
select device, field, width, date_bin(make_interval(secs => width), at(n), 'epoch'), 1, 1, 1, 1, 1, at(n),
       n, 1, at(n), n
from n, unnest(array[1, 2]) as device, unnest(array['temperature', 'a', 'b']) as field,
     unnest(array[60, 3600, 86400]) as width
where n * 60 % width = 0;

insert into page_views.page
select encode(substr(sha256(path::bytea), 1, 16), 'hex')::uuid, path
from unnest(array['/wanted', '/a', '/b', '/c']) as path;
insert into page_views.rollup
select page.id, width, at(n), 1, 1 from n, page_views.page, unnest(array[60, 3600, 86400]) as width
where n * 60 % width = 0 and (n <= 3000 or path <> '/wanted');

analyze;
