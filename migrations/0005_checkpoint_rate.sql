-- How fast each consumer of the log moves: two earlier looks at its own checkpoint, kept by the
-- statements that move it. Four columns without a rewrite: they can be added while the system runs.

alter table log.checkpoint
    -- Where it stood at two moments at least five seconds apart. The rate is measured since the
    -- earlier one, so over five to ten seconds. Null: not yet looked.
    add column earlier_position bigint,
    add column earlier_at timestamptz,
    add column later_position bigint,
    add column later_at timestamptz;
