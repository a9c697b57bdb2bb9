-- Creates TimescaleDB if the server has it installed and loaded. Every role can see the extension's
-- settings, but not `shared_preload_libraries`. Without it, readings are partitioned.
do $$
begin
    if exists (select from pg_available_extensions where name = 'timescaledb')
        and exists (select from pg_settings where name = 'timescaledb.disable_load')
    then
        create extension if not exists timescaledb;
    end if;
end
$$;
