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

-- Sessions that are neither revoked nor ended by a new password or by signing out everywhere. Those that
-- have expired are deleted when their user signs in again.
create table session (
    id           uuid        not null constraint session_key primary key,
    user_id      uuid        not null,
    created_at   timestamptz not null, -- of the sign-in, by the clock of the log
    refreshed_at timestamptz,
    expires_at   timestamptz not null,
    position     bigint      not null  -- of the sign-in
) with (fillfactor = 80);

-- Unique, so that a rebuild keeps it while it fills the table: writes find the sessions of a user by it.
create unique index session_user_idx on session (user_id, created_at, id);
