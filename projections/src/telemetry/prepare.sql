-- TimescaleDB, where the server has it and has loaded it: that it knows the extension's settings
-- shows it to any role, `shared_preload_libraries` does not. Without it readings are partitioned.
do $$
begin
    if exists (select from pg_available_extensions where name = 'timescaledb')
        and exists (select from pg_settings where name = 'timescaledb.disable_load')
    then
        create extension if not exists timescaledb;
    end if;
end
$$;
