-- Read model of users. The streams `email-…` make addresses unique, not this table.
create table account (
    id         uuid        not null constraint account_key primary key,
    email      text        not null collate "C", -- as registered
    full_name  text        not null,
    role       text        not null constraint account_role_is_known check (
        role in ('user', 'operator', 'admin')
    ),
    namespace  text        collate "C",          -- of devices
    created_at timestamptz not null,
    version    bigint      not null              -- of the user's stream
);

create index account_created_idx on account (created_at, id);
