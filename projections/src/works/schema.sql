-- Read model of works.
create table work (
    id         uuid        not null constraint work_key primary key,
    work_code  text        not null,
    add_up_to  bigint      not null,
    done       boolean     not null,
    status     text        not null constraint work_status_is_known check (
        status in ('demanded', 'claimed', 'started', 'completed', 'failed', 'given_up')
    ),
    result     bigint,               -- the largest, for 4,294,967,295, is below 2^63
    attempts   integer     not null,
    worker     text,                 -- holder of the last lease
    reason     text,                 -- of the last failure
    due_at     timestamptz,          -- when it may be claimed; null once finished
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version    bigint      not null  -- of the work's stream
) with (fillfactor = 80);

create index work_due_idx on work (due_at) where due_at is not null;
-- A list takes a page of each status.
create index work_status_idx on work (status, created_at, id);
create index work_code_idx on work (work_code, status, created_at, id);
