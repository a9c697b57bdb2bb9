-- Read model of causes and effects.
create table link (
    position       bigint not null constraint link_key primary key,
    event_id       uuid   not null,
    correlation_id uuid, -- shared by all events that follow from one request or one reading
    causation_id   uuid  -- the event it follows from
);

create index link_correlation_idx on link (correlation_id, position)
    where correlation_id is not null;
