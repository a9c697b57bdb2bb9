-- Leases: who of several processes does what only one should do at a time. A new table and nothing
-- else, so that it can be added while the system runs.

create table log.lease (
    -- What is done under it.
    name  text        not null collate "C" constraint lease_key primary key,
    -- A process, by an id it drew when it started.
    owner uuid        not null,
    -- By the clock of this database, the only one all owners share. After it anybody may take it.
    until timestamptz not null
) with (fillfactor = 50); -- Extended every second or so: room for the new version on the page.

comment on table log.lease is
    'Keeps work from being done twice over; never the reason why a result is right.';

grant select, insert, update, delete on log.lease to tributary_app;
