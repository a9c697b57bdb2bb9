-- Read model of alerts. Names have no schema: the live schema and a shadow schema are created alike.

-- Every alert, in its current state.
create table alert (
    id              uuid        not null constraint alert_key primary key,
    user_id         text        not null collate "C",
    device_id       text        not null collate "C",
    rule_id         uuid        not null,
    rule            text        not null, -- short form: battery < 20
    severity        text        not null,
    message         text        not null,
    value           json,                 -- in the reading of the last notification
    threshold       json,
    state           text        not null constraint alert_state_is_known check (
        state in ('active', 'cleared')
    ),
    raised_at       timestamptz not null, -- time of the reading
    updated_at      timestamptz not null, -- time of the reading of the last notification
    cleared_at      timestamptz,
    cleared_because text,                 -- recovered, or rule_changed
    breaches        bigint      not null, -- as of the last notification
    acknowledged_by text,
    acknowledged_at timestamptz,
    raised_position bigint      not null, -- of the event that raised it; orders the list
    position        bigint      not null, -- of the alert's last event
    version         bigint      not null  -- of its stream
) with (fillfactor = 80);

create index alert_raised_idx on alert (raised_position);
create index alert_user_idx on alert (user_id, raised_position);

-- The current rules of each user, and those for everybody (`~`).
create table config (
    scope         text        not null collate "C" constraint config_key primary key,
    version       bigint      not null,
    config        json        not null,
    configured_at timestamptz not null
);
