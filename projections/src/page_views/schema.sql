-- Read model of page views. Pages and sessions are identified by a hash of their text (128 bits of
-- SHA-256): short in every index, equal after a rebuild, and no session id is stored in clear text.
create table page (
    id   uuid not null constraint page_key primary key, -- hash of the path
    path text not null collate "C"
);

-- Views of a page per bucket. Additive: a late view is added to its bucket.
create table rollup (
    page     uuid        not null,
    width    integer     not null, -- seconds: 60, 3600 or 86400
    bucket   timestamptz not null,
    views    bigint      not null,
    sessions bigint      not null, -- distinct: the number of rows in `visit`
    constraint rollup_key primary key (page, width, bucket)
) with (fillfactor = 70);

create index rollup_bucket_idx on rollup (width, bucket);

-- The sessions that viewed a page in a bucket, one row each. A session in a minute is also in its
-- hour, and a session in an hour is also in its day.
create table visit (
    page    uuid        not null,
    width   integer     not null,
    bucket  timestamptz not null,
    session uuid        not null, -- hash of the session id
    constraint visit_key primary key (page, width, bucket, session)
);
