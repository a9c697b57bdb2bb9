-- Read model of orders.
create table purchase (
    id            uuid        not null constraint purchase_key primary key, -- order id
    customer_id   uuid        not null,
    status        text        not null constraint purchase_status_is_known check (
        status in ('pending', 'confirmed', 'shipped', 'cancelled')
    ),
    reason        text,                 -- of the cancellation; null unless cancelled
    currency      text        not null,
    total         text        not null, -- decimal
    items         json        not null, -- as placed; never change
    reserve_until timestamptz,          -- deadline of confirmation; null unless pending
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    version       bigint      not null  -- of the order's stream
) with (fillfactor = 80);

-- A list takes a page of each status.
create index purchase_status_idx on purchase (status, created_at, id);
create index purchase_customer_idx on purchase (customer_id, status, created_at, id);
create index purchase_due_idx on purchase (reserve_until) where reserve_until is not null;

-- The events of each order and of its stock.
create table history (
    order_id   uuid        not null,
    position   bigint      not null, -- of the event
    at         timestamptz not null,
    event      text        not null,
    product_id uuid,                 -- of a stock event; else null
    quantity   bigint,               -- pieces, of a refusal those wanted; null unless a stock event
    available  bigint,               -- pieces at a refusal; else null
    constraint history_key primary key (order_id, position)
);
