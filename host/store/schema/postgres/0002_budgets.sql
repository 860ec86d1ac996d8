-- What hosts share of a credential.
create table bucket (
    -- A digest that tells nothing of the secret.
    key           bytea   primary key,
    -- Rises with every change: who read the row writes it only if nobody else has since.
    no            bigint not null,
    -- When the next call may be leased at the rate, in microseconds since 1970; in the past: so much is saved up.
    next_at_us    bigint not null,
    -- The other side asked to be left alone until then.
    held_until    bigint not null,
    -- It does not answer and is left alone until then, for so many milliseconds each time; 0: it answers.
    open_until    bigint not null,
    open_wait     bigint not null,
    -- The host that tries whether it answers, and until when nobody else does; 0: nobody.
    probe_by      bigint not null,
    probe_until   bigint not null,
    told_at       bigint not null
) with (
    -- Ten changes a second of a row in use.
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

-- Rows that change once or twice, and tables that grow and are pruned: room for the next version on the same page,
-- and cleaning up after each pass of pruning rather than after a fifth of the table.
alter table effect set (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000
);
alter table making set (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000
);
alter table event set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
alter table receipt set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
alter table dedupe set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
alter table hop set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);

-- Written every other second by every host: the dead versions of a handful of rows.
alter table host set (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);
alter table kv set (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500
);
alter table directory set (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);
