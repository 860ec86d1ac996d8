-- What hosts share of a credential. One host alone keeps it in memory and writes nothing here.
create table bucket (
    -- A digest that tells nothing of the secret.
    key           blob    primary key,
    -- Rises with every change.
    no            integer not null,
    -- When the next call may be leased at the rate, in microseconds since 1970; in the past: so much is saved up.
    next_at_us    integer not null,
    -- The other side asked to be left alone until then.
    held_until    integer not null,
    -- It does not answer and is left alone until then, for so many milliseconds each time; 0: it answers.
    open_until    integer not null,
    open_wait     integer not null,
    -- The host that tries whether it answers, and until when nobody else does; 0: nobody.
    probe_by      integer not null,
    probe_until   integer not null,
    told_at       integer not null
) strict, without rowid;
