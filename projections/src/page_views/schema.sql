-- Read model of page views. Pages and sessions are identified by a hash of their text (128 bits of
-- SHA-256): short in every index, equal in every rebuild, and no session id is stored.
create table page (
    id   uuid not null constraint page_key primary key, -- hash of the path
    path text not null collate "C"
);

-- Views of a page by time bucket. Additive: a late view is added like any other.
create table rollup (
    page     uuid        not null,
    width    integer     not null, -- seconds: 60, 3600 or 86400
    bucket   timestamptz not null,
    views    bigint      not null,
    sessions bigint      not null, -- distinct: number of rows in `visit`
    constraint rollup_key primary key (page, width, bucket)
) with (fillfactor = 70);

create index rollup_bucket_idx on rollup (width, bucket);

-- Sessions that viewed a page, by time bucket: one row for any number of views. A session in the bucket
-- of a minute is also in those of its hour and day.
create table visit (
    page    uuid        not null,
    width   integer     not null,
    bucket  timestamptz not null,
    session uuid        not null, -- hash of the session id
    constraint visit_key primary key (page, width, bucket, session)
);
