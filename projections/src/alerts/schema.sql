-- Read model of alerts. Schema-less names: live and rebuilt models share this text.

-- Every alert there ever was, as it stands.
create table alert (
    id              uuid        not null constraint alert_key primary key,
    user_id         text        not null collate "C",
    device_id       text        not null collate "C",
    rule_id         uuid        not null,
    rule            text        not null, -- in a few words: battery < 20
    severity        text        not null,
    message         text        not null,
    value           json,                 -- of the last reading people were told of
    threshold       json,
    state           text        not null constraint alert_state_is_known check (
        state in ('active', 'cleared')
    ),
    raised_at       timestamptz not null, -- by the time of the reading
    updated_at      timestamptz not null, -- by the time of the last reading people were told of
    cleared_at      timestamptz,
    cleared_because text,                 -- recovered, or rule_changed
    breaches        bigint      not null, -- as far as people were told
    acknowledged_by text,
    acknowledged_at timestamptz,
    raised_position bigint      not null, -- of the event; orders alerts by when they were raised
    position        bigint      not null, -- of the alert's last event
    version         bigint      not null  -- of its stream
) with (fillfactor = 80);

create index alert_raised_idx on alert (raised_position);
create index alert_user_idx on alert (user_id, raised_position);

-- The rules as they are, of each user and of everybody (`~`).
create table config (
    scope         text        not null collate "C" constraint config_key primary key,
    version       bigint      not null,
    config        json        not null,
    configured_at timestamptz not null
);
