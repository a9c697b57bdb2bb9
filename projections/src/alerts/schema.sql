-- Read model of alerts. Names have no schema: the live and the shadow schema share this text.

-- The current state of every alert, cleared ones included.
create table alert (
    id              uuid        not null constraint alert_key primary key,
    user_id         text        not null collate "C",
    device_id       text        not null collate "C",
    rule_id         uuid        not null,
    rule            text        not null, -- its condition, such as `battery < 20`
    severity        text        not null,
    message         text        not null,
    raised_value    json,                 -- of the reading that raised it
    value           json,                 -- of the last reading that raised or updated it
    threshold       json,
    state           text        not null constraint alert_state_is_known check (
        state in ('active', 'cleared')
    ),
    raised_at       timestamptz not null, -- time of the reading
    updated_at      timestamptz not null, -- time of the last reading that raised or updated it
    cleared_at      timestamptz,
    cleared_because text,                 -- `recovered` or `rule_changed`
    breaches        bigint      not null, -- readings that breached, at the last raise or update
    acknowledged_by text,
    acknowledged_at timestamptz,
    raised_position bigint      not null, -- of the raising event; the order of lists
    position        bigint      not null, -- of the alert's last event
    version         bigint      not null  -- of the alert's stream
) with (fillfactor = 80);

-- A list takes a page of each state, severity, and whether acknowledged.
create index alert_raised_idx
    on alert (state, severity, (acknowledged_at is not null), raised_position);
create index alert_user_idx
    on alert (user_id, state, severity, (acknowledged_at is not null), raised_position);
create index alert_device_idx
    on alert (device_id, state, severity, (acknowledged_at is not null), raised_position);
create index alert_user_device_idx
    on alert (user_id, device_id, state, severity, (acknowledged_at is not null), raised_position);

-- The current rules of each user, and those for all users (scope `~`).
create table config (
    scope         text        not null collate "C" constraint config_key primary key,
    version       bigint      not null,
    config        json        not null,
    configured_at timestamptz not null
);
