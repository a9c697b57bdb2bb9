-- Read model of orders.
create table purchase (
    id            uuid        not null constraint purchase_key primary key, -- of the order
    customer_id   uuid        not null,
    status        text        not null constraint purchase_status_is_known check (
        status in ('pending', 'confirmed', 'shipped', 'cancelled')
    ),
    reason        text,                 -- why it was cancelled
    currency      text        not null,
    total         text        not null, -- decimal
    items         json        not null, -- as placed; never change
    reserve_until timestamptz,          -- when it expires; null unless it is pending
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    version       bigint      not null  -- of its stream
) with (fillfactor = 80);

create index purchase_created_idx on purchase (created_at, id);
create index purchase_customer_idx on purchase (customer_id, created_at, id);
create index purchase_due_idx on purchase (reserve_until) where reserve_until is not null;

-- Events of each order and of the stock reserved for it.
create table history (
    order_id   uuid        not null,
    position   bigint      not null, -- of the event
    at         timestamptz not null,
    event      text        not null,
    product_id uuid,                 -- of a stock event
    quantity   bigint,               -- pieces
    constraint history_key primary key (order_id, position)
);
