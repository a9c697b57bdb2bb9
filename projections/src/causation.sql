-- Read model of the causation tree.
create table link (
    position       bigint not null constraint link_key primary key,
    event_id       uuid   not null,
    correlation_id uuid, -- shared by all events that follow from one request or reading
    causation_id   uuid  -- id of the event that led to this one
);

create index link_correlation_idx on link (correlation_id, position)
    where correlation_id is not null;
