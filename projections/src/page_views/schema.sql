-- Read model of page views. Pages and sessions are named by a hash of their text (128 bits of
-- SHA-256): short in every index, the same in every rebuild, and no session id is to be read here.
create table page (
    id   uuid not null constraint page_key primary key, -- hash of the path
    path text not null collate "C"
);

-- Views of a page in a stretch of time. Additive: a late view just adds.
create table rollup (
    page     uuid        not null,
    width    integer     not null, -- seconds: 60, 3600 or 86400
    bucket   timestamptz not null,
    views    bigint      not null,
    sessions bigint      not null, -- distinct: how many rows of `visit` there are
    constraint rollup_key primary key (page, width, bucket)
) with (fillfactor = 70);

create index rollup_bucket_idx on rollup (width, bucket);

-- Who was on a page in a stretch of time: one row, however often. A session that is in a minute is
-- in its hour, and one that is in an hour is in its day.
create table visit (
    page    uuid        not null,
    width   integer     not null,
    bucket  timestamptz not null,
    session uuid        not null, -- hash of the session id
    constraint visit_key primary key (page, width, bucket, session)
);
