-- Creates the extension TimescaleDB if the server has it installed and loaded. Its settings are visible
-- to every role once it is loaded; `shared_preload_libraries` is not. Without it readings are partitioned.
do $$
begin
    if exists (select from pg_available_extensions where name = 'timescaledb')
        and exists (select from pg_settings where name = 'timescaledb.disable_load')
    then
        create extension if not exists timescaledb;
    end if;
end
$$;
