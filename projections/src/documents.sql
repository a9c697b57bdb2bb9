-- Read model of documents. `json`, not `jsonb`: documents are returned verbatim.
create table document (
    id             uuid        not null constraint document_key primary key,
    owner_id       uuid        not null,
    schema_name    text collate "C", -- the schema that validated it; null if none
    schema_version bigint,
    data           json        not null,
    created_at     timestamptz not null,
    constraint document_schema_is_whole check ((schema_name is null) = (schema_version is null))
);

create index document_created_idx on document (created_at, id);
create index document_owner_idx on document (owner_id, created_at, id);

-- Every version of every schema.
create table schema (
    name       text        not null collate "C",
    version    bigint      not null, -- counted from 1
    schema     json        not null,
    created_at timestamptz not null,
    constraint schema_key primary key (name, version)
);
