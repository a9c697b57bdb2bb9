-- Read model of projects, their members and their tasks. No foreign keys: a stream is applied
-- independently of others, also while another is parked.
create table project (
    id          uuid        not null constraint project_key primary key,
    name        text        not null,
    description text,
    owner_id    uuid        not null,
    archived    boolean     not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    version     bigint      not null  -- of the project's stream
);

-- A list takes a page of the archived projects, and one of the others.
create index project_created_idx on project (archived, created_at, id);
create index project_owner_idx on project (owner_id, archived, created_at, id);

create table member (
    project_id uuid not null,
    user_id    uuid not null,  -- never the owner
    archived   boolean     not null, -- of the project
    created_at timestamptz not null, -- of the project
    constraint member_key primary key (project_id, user_id)
);

create index member_user_idx on member (user_id, archived, created_at, project_id);

create table task (
    id          uuid        not null constraint task_key primary key,
    project_id  uuid        not null,
    title       text        not null,
    description text,
    assignee_id uuid,                  -- a member at the time of the assignment
    status      text        not null constraint task_status_is_known check (
        status in ('ToDo', 'InProgress', 'Done')
    ),
    due_at      timestamptz,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    version     bigint      not null   -- of the task's stream
) with (fillfactor = 80);

-- A list takes a page of each status, and for a user one of each project.
create index task_status_idx on task (status, created_at, id);
create index task_project_idx on task (project_id, status, created_at, id);
create index task_assignee_idx on task (assignee_id, status, created_at, id)
    where assignee_id is not null;
create index task_project_assignee_idx on task (project_id, assignee_id, status, created_at, id)
    where assignee_id is not null;
