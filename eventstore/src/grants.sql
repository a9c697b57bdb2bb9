-- What the role of the application may do, in one place. `tributary migrate` repeats it: a dump holds
-- no rights on the database itself, and one restored without privileges holds none at all.

-- Two migrations at a time would update the same rows of the catalogue. Held to the end of this file.
select pg_advisory_xact_lock(hashtext('grants of the log'));

grant usage on schema log to tributary_app;
-- Lets the application check that the log has every table it needs.
grant select on _sqlx_migrations, log.deployment to tributary_app;
-- The log is only appended to.
grant select, insert on log.event, log.skipped to tributary_app;
grant select, update on log.head to tributary_app;
grant select, insert, delete on log.receipt to tributary_app;
grant select, insert, update, delete
    on log.checkpoint, log.parked, log.lease, log.snapshot, log.deadline to tributary_app;

-- Read models are schemas that the application owns: projectors create them, and rebuilds and
-- `verify --projections` create shadow schemas.
do $$
begin
    execute format('grant create on database %I to tributary_app', current_database());
end
$$;
