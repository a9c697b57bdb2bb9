-- Read model of products and their stock.
create table product (
    id         uuid        not null constraint product_key primary key,
    sku        text        not null collate "C",
    name       text        not null,
    price      text        not null, -- unit price, decimal
    currency   text        not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    version    bigint      not null  -- of the product's stream
);

create index product_sku_idx on product (sku, id);

-- Separate from `product`, because it changes with each order. Quantities are pieces; `received`
-- includes corrections.
create table stock (
    product_id uuid        not null constraint stock_key primary key,
    received   bigint      not null,
    available  bigint      not null constraint stock_available_is_not_negative check (available >= 0),
    reserved   bigint      not null constraint stock_reserved_is_not_negative check (reserved >= 0),
    shipped    bigint      not null,
    updated_at timestamptz not null,
    version    bigint      not null, -- of the stock's stream
    constraint stock_is_conserved check (received = available + reserved + shipped)
) with (fillfactor = 50);
