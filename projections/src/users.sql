-- Read model of users. E-mail addresses are unique by their streams, so there is no constraint here.
create table account (
    id         uuid        not null constraint account_key primary key,
    email      text        not null collate "C", -- in the spelling of the registration
    full_name  text        not null,
    role       text        not null constraint account_role_is_known check (
        role in ('user', 'operator', 'admin')
    ),
    created_at timestamptz not null,
    version    bigint      not null              -- of its stream
);

create index account_created_idx on account (created_at, id);
