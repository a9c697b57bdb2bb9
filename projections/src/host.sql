-- Read model of hosts: their samples. Amounts are in bytes.

create table sample (
    host          text        not null collate "C",
    time          timestamptz not null, -- the host's clock
    received_at   timestamptz not null,
    users         bigint      not null, -- accounts of people
    storage_total bigint      not null, -- of the file system that holds `/`
    storage_used  bigint      not null,
    storage_free  bigint      not null,
    memory_total  bigint      not null,
    memory_used   bigint      not null,
    load          float8[]    not null, -- over 1, 5 and 15 minutes
    position      bigint      not null, -- of its event
    constraint sample_key primary key (host, time)
);

create index sample_time on sample (time, host);
