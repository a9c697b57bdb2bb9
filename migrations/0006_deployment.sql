-- The identity of this log, which its streams on NATS carry: the relay of another deployment must
-- not publish to them. It stays the same when a backup is restored.

create table log.deployment (
    one boolean not null default true primary key constraint deployment_has_one_row check (one),
    id  uuid    not null default gen_random_uuid()
);
insert into log.deployment default values;
grant select on log.deployment to tributary_app;

-- What a consumer reports about itself. Columns without a default need no rewrite: they can be added
-- while the system runs.
alter table log.checkpoint
    -- Why the consumer makes no progress, and since when. Null: it does.
    add column error       text,
    add column error_since timestamptz,
    -- What an operator should know although the consumer makes progress.
    add column warning     text;
