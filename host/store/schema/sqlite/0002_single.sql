-- What is being made in the inbox, by every name it goes by: one maker at a time, whichever host it is on.
create table making (
    workspace_id  integer not null,
    key           blob    not null,
    -- The event in whose turn it is made. Its right ends with the event.
    lane_id       integer not null,
    seq           integer not null,
    -- When a call for it left whose outcome is not known.
    announced_at  integer,
    -- The inbox's id, once there is one.
    remote_id     blob,
    since         integer not null,
    primary key (workspace_id, key)
) strict, without rowid;

create index making_of_remote on making (workspace_id, remote_id) where remote_id is not null;

-- How far each workspace was looked through for replies that no webhook told.
create table sweep (
    workspace_id  integer primary key,
    seen_until    integer not null,
    next_at       integer not null,
    -- Whoever looks it through has it until then.
    held_until    integer not null default 0
) strict;

-- Until when a secret that is no longer in use still proves a hook; null: it is in use.
alter table secret add column until integer;
