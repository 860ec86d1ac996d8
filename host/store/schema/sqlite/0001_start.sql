-- Times are milliseconds since 1970, ids 64-bit integers, and whatever comes from outside (keys, remote
-- ids, names, payloads) is a blob: both databases then compare and sort it alike, and a provider's
-- string with a NUL in it is no special case. Text columns hold words of our own only.

-- The raw requests, as evidence and for reading them again. Exactly one of channel_id, workspace_id is set.
create table receipt (
    id            integer primary key,
    channel_id    integer,
    workspace_id  integer,
    method        text    not null,
    path          blob    not null,
    headers       blob    not null,
    body          blob    not null,
    body_sha256   blob    not null,
    received_at   integer not null,
    -- 0 parsed, 1 unparsed, 2 parked
    state         integer not null,
    problem       blob,
    tries         integer not null default 0,
    next_at       integer,
    deliveries    integer not null default 1
) strict;

create index receipt_due on receipt (next_at) where state = 1;
create index receipt_unread on receipt (body_sha256) where state <> 0;

-- Written once. Finished is what lies at or below its lane's head: there is no status here.
create table event (
    no            integer primary key,
    lane_id       integer not null,
    seq           integer not null,
    channel_id    integer not null,
    receipt_id    integer,
    kind          text    not null,
    key           blob    not null,
    remote_id     blob,
    at            integer not null,
    accepted_at   integer not null,
    not_before    integer,
    -- A replay stands behind its original in the same lane and names it.
    origin_seq    integer,
    attempt_no    integer not null default 0,
    payload       blob    not null,
    constraint event_place unique (lane_id, seq)
) strict;

create index event_by_time on event (channel_id, accepted_at);
create index event_by_remote_id on event (channel_id, remote_id) where remote_id is not null;
create index event_replays on event (lane_id, origin_seq) where origin_seq is not null;

create table dedupe (
    channel_id    integer not null,
    direction     integer not null,
    key           blob    not null,
    lane_id       integer not null,
    seq           integer not null,
    day           integer not null,
    deliveries    integer not null default 1,
    primary key (channel_id, direction, key)
) strict, without rowid;

create index dedupe_by_day on dedupe (day);

create table lane (
    id            integer primary key,
    channel_id    integer not null,
    -- 0 in, 1 out
    direction     integer not null,
    key           blob    not null,
    identity_id   integer,
    tail          integer not null,
    head          integer not null default 0,
    ready_at      integer,
    tries         integer not null default 0,
    failing_since integer,
    cause_code    blob,
    cause_message blob,
    -- When an event last joined: what the channel's last traffic is read from.
    last_at       integer not null,
    constraint lane_key unique (channel_id, direction, key)
) strict;

create index lane_ready on lane (channel_id, ready_at) where ready_at is not null;
create index lane_of_identity on lane (identity_id) where identity_id is not null;

create table effect (
    lane_id       integer not null,
    seq           integer not null,
    step          text    not null,
    -- 0 intent, 1 done, 2 ambiguous, 3 failed
    state         integer not null,
    target        blob    not null,
    fingerprint   blob    not null,
    remote_id     blob,
    announced_at  integer not null,
    ended_at      integer,
    code          blob,
    primary key (lane_id, seq, step)
) strict, without rowid;

create index effect_open on effect (target) where state in (0, 2);

-- How an event ended where the plain end does not say it.
create table ending (
    lane_id       integer not null,
    seq           integer not null,
    -- 0 done, 1 ignored, 2 failed, 3 unknown, 4 dead
    state         integer not null,
    code          blob,
    message       blob,
    at            integer not null,
    primary key (lane_id, seq)
) strict, without rowid;

create table hop (
    no            integer primary key,
    lane_id       integer not null,
    seq           integer not null,
    at            integer not null,
    what          blob    not null,
    code          blob,
    detail        blob
) strict;

create index hop_of_event on hop (lane_id, seq);

-- The provider's ids of outgoing messages, and what the provider reported by those ids. Neither waits for the other.
create table outgoing (
    channel_id    integer not null,
    remote_id     blob    not null,
    lane_id       integer not null,
    seq           integer not null,
    step          text    not null,
    primary key (channel_id, remote_id)
) strict, without rowid;

create index outgoing_of_event on outgoing (lane_id, seq);

create table report (
    channel_id    integer not null,
    remote_id     blob    not null,
    -- 0 sent, 1 delivered, 2 read, 3 failed
    rank          integer not null,
    at            integer not null,
    code          blob,
    primary key (channel_id, remote_id, rank)
) strict, without rowid;

create table identity (
    id              integer primary key,
    channel_id      integer not null,
    name            blob,
    language        blob,
    -- 0 reachable, 1 blocked, 2 opted out, 3 opted in
    reach           integer not null default 0,
    reach_at        integer not null default 0,
    last_inbound_at integer,
    window_closed   integer not null default 0,
    contact         blob,
    written_name    blob,
    -- The present conversation; with its workspace the key into thread.
    thread_workspace    integer,
    thread_conversation blob,
    -- Set when it turned out to be the same person as an older identity.
    joined_into     integer,
    created_at      integer not null
) strict;

create index identity_of_contact on identity (contact) where contact is not null;

-- One owner each. A handle goes to whoever used it last; the others stay where they are.
create table alias (
    channel_id    integer not null,
    -- 0 id, 1 parent id, 2 phone, 3 handle
    kind          integer not null,
    value         blob    not null,
    identity_id   integer not null,
    since         integer not null,
    primary key (channel_id, kind, value)
) strict, without rowid;

create index alias_of_identity on alias (identity_id);
create index alias_by_value on alias (value);

create table thread (
    workspace_id  integer not null,
    conversation  blob    not null,
    identity_id   integer not null,
    opened_at     integer not null,
    last_part_at  integer not null,
    parts         integer not null,
    primary key (workspace_id, conversation)
) strict, without rowid;

create index thread_of_identity on thread (identity_id);

create table own_part (
    workspace_id  integer not null,
    part          blob    not null,
    day           integer not null,
    primary key (workspace_id, part)
) strict, without rowid;

create table workspace (
    id            integer primary key,
    platform      text    not null,
    platform_id   blob    not null,
    name          blob    not null,
    facts         blob    not null,
    status        text    not null,
    status_cause  blob,
    status_since  integer not null,
    added_by      blob    not null,
    settings      blob    not null,
    warning       blob,
    created_at    integer not null,
    updated_at    integer not null
) strict;

create unique index workspace_account on workspace (platform, platform_id) where status <> 'archived';

create table channel (
    id             integer primary key,
    workspace_id   integer not null,
    plugin         text    not null,
    name           blob    not null,
    external_id    blob    not null,
    external_name  blob    not null,
    fields         blob    not null,
    status         text    not null,
    status_cause   blob,
    status_since   integer not null,
    notices        blob    not null,
    settings       blob    not null,
    refused_groups integer not null,
    created_at     integer not null,
    updated_at     integer not null
) strict;

create unique index channel_account on channel (plugin, external_id) where status <> 'archived' and external_id <> x'';
create index channel_of_workspace on channel (workspace_id);

-- Sealed values. Several of one name while one is being rotated; place 0 is in use.
create table secret (
    owner         text    not null,
    owner_id      integer not null,
    name          text    not null,
    place         integer not null,
    key_id        integer not null,
    nonce         blob    not null,
    sealed        blob    not null,
    primary key (owner, owner_id, name, place)
) strict, without rowid;

create table kv (
    channel_id    integer not null,
    key           blob    not null,
    value         blob    not null,
    until         integer,
    primary key (channel_id, key)
) strict, without rowid;

create table kept_answer (
    key           blob    not null primary key,
    request       blob    not null,
    status        integer not null,
    body          blob    not null,
    until         integer not null
) strict, without rowid;

create index kept_answer_until on kept_answer (until);

create table media (
    id            integer primary key,
    sha256        blob    not null,
    name          blob,
    content_type  text    not null,
    bytes         integer not null,
    created_at    integer not null
) strict;

create index media_of_bytes on media (sha256);
create index media_by_age on media (created_at);
