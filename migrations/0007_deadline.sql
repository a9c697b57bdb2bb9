-- Deadlines of process managers. A new table and nothing else, so that it can be added while the
-- system runs.

create table log.deadline (
    -- Consumer that sets the deadline.
    consumer text        not null collate "C",
    -- What is due: for orders, the id of the order.
    key      text        not null collate "C",
    due_at   timestamptz not null,
    -- Metadata of the events that follow: the request and the event that the deadline follows from.
    metadata json        not null,
    constraint deadline_key primary key (consumer, key)
);
create index deadline_due_idx on log.deadline (consumer, due_at, key);

comment on table log.deadline is
    'A fold of the log. Can be deleted with the checkpoint of its consumer, which then folds again.';

grant select, insert, update, delete on log.deadline to tributary_app;
