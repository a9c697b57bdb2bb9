-- Read model of host samples. Storage and memory are in bytes.

create table sample (
    host          text        not null collate "C",
    time          timestamptz not null, -- the host's clock
    received_at   timestamptz not null,
    users         bigint      not null, -- user accounts of people, not of services
    storage_total bigint      not null, -- of the file system of `/`
    storage_used  bigint      not null,
    storage_free  bigint      not null,
    memory_total  bigint      not null,
    memory_used   bigint      not null,
    load          float8[]    not null, -- averages over 1, 5 and 15 minutes
    position      bigint      not null, -- of the sample's event
    constraint sample_key primary key (host, time)
);

create index sample_time on sample (time, host);
