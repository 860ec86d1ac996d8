-- The same tables and columns as on SQLite, so that one set of statements serves both. Times are milliseconds since
-- 1970, ids 64-bit integers, and whatever comes from outside is bytea: no collation, no encoding and no NUL is a
-- special case. Text columns hold words of our own and sort by their bytes.
--
-- Two clocks: what is due (lane.ready_at, receipt.next_at) follows the hosts' clock, which is the providers' time and
-- which tests move; who may work a lane (host.leased_until) follows this server's clock alone, so that hosts whose
-- clocks differ agree on it.

-- What SQLite has and PostgreSQL lacks, under the same names.
create function max(one bigint, other bigint) returns bigint language sql immutable
    as 'select case when one is null or other is null then null else greatest(one, other) end';
create function min(one bigint, other bigint) returns bigint language sql immutable
    as 'select case when one is null or other is null then null else least(one, other) end';
create function json_each(list bigint[]) returns table (value bigint) language sql immutable
    as 'select unnest(list)';

-- Places of messages, given as lane, seq, lane, seq …
create function places(list bigint[]) returns table (lane_id bigint, seq bigint) language sql immutable
    as 'select list[2 * n - 1], list[2 * n] from generate_series(1, cardinality(list) / 2) as n';

create function server_ms() returns bigint language sql stable
    as 'select (extract(epoch from clock_timestamp()) * 1000)::bigint';

-- Each host at work. A lane is held as long as its owner's lease is: one row is renewed for all lanes of a host, so a
-- heartbeat writes no lane, waits for nobody and leaves no dead rows behind.
create table host (
    -- 0 to 255: part of every id that the host makes, so that no two hosts make the same. Used again only after all
    -- others.
    number        bigint primary key,
    -- Another with each start.
    id            bigint not null unique,
    leased_until  bigint not null,
    -- The newest migration that it knows: a later one that it could not work with waits until it has gone.
    knows         bigint not null
);

-- Rises with every change of a workspace or channel, so that hosts know when to read them again.
create table directory (
    no            bigint not null
);

insert into directory (no) values (1);

-- The raw requests, as evidence and for reading them again. Exactly one of channel_id, workspace_id is set.
create table receipt (
    id            bigint primary key,
    channel_id    bigint,
    workspace_id  bigint,
    method        text    collate "C" not null,
    path          bytea   not null,
    headers       bytea   not null,
    body          bytea   not null,
    body_sha256   bytea   not null,
    received_at   bigint not null,
    -- 0 parsed, 1 unparsed, 2 parked
    state         bigint not null,
    problem       bytea,
    tries         bigint not null default 0,
    next_at       bigint,
    deliveries    bigint not null default 1
);

create index receipt_due on receipt (next_at) where state = 1;
create index receipt_unread on receipt (body_sha256) where state <> 0;

-- Written once. Finished is what lies at or below its lane's head: there is no status here.
create table event (
    no            bigint generated always as identity primary key,
    lane_id       bigint not null,
    seq           bigint not null,
    channel_id    bigint not null,
    receipt_id    bigint,
    kind          text    collate "C" not null,
    key           bytea   not null,
    remote_id     bytea,
    at            bigint not null,
    accepted_at   bigint not null,
    not_before    bigint,
    -- A replay stands behind its original in the same lane and names it.
    origin_seq    bigint,
    attempt_no    bigint not null default 0,
    payload       bytea   not null,
    constraint event_place unique (lane_id, seq)
);

create index event_by_time on event (channel_id, accepted_at);
create index event_by_remote_id on event (channel_id, remote_id) where remote_id is not null;
create index event_replays on event (lane_id, origin_seq) where origin_seq is not null;

create table dedupe (
    channel_id    bigint not null,
    direction     bigint not null,
    key           bytea   not null,
    lane_id       bigint not null,
    seq           bigint not null,
    day           bigint not null,
    deliveries    bigint not null default 1,
    primary key (channel_id, direction, key)
);

create index dedupe_by_day on dedupe (day);

create table lane (
    id            bigint primary key,
    channel_id    bigint not null,
    -- 0 in, 1 out
    direction     bigint not null,
    key           bytea   not null,
    identity_id   bigint,
    tail          bigint not null,
    head          bigint not null default 0,
    ready_at      bigint,
    -- Who works it: the token of the claim, and the host whose lease it lives by. Null: nobody.
    claim         bytea,
    owner         bigint,
    tries         bigint not null default 0,
    failing_since bigint,
    cause_code    bytea,
    cause_message bytea,
    -- When an event last joined: what the channel's last traffic is read from.
    last_at       bigint not null,
    constraint lane_key unique (channel_id, direction, key)
) with (
    -- Rows change all the time: room on the page for the next version, and cleaning up as soon as there is something.
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

create index lane_ready on lane (channel_id, ready_at) where ready_at is not null;
create index lane_owned on lane (owner) where owner is not null;
create index lane_of_identity on lane (identity_id) where identity_id is not null;

create table effect (
    lane_id       bigint not null,
    seq           bigint not null,
    step          text    collate "C" not null,
    -- 0 intent, 1 done, 2 ambiguous, 3 failed
    state         bigint not null,
    target        bytea   not null,
    fingerprint   bytea   not null,
    remote_id     bytea,
    announced_at  bigint not null,
    ended_at      bigint,
    code          bytea,
    primary key (lane_id, seq, step)
);

create index effect_open on effect (target) where state in (0, 2);

-- How an event ended where the plain end does not say it.
create table ending (
    lane_id       bigint not null,
    seq           bigint not null,
    -- 0 done, 1 ignored, 2 failed, 3 unknown, 4 dead
    state         bigint not null,
    code          bytea,
    message       bytea,
    at            bigint not null,
    primary key (lane_id, seq)
);

create table hop (
    no            bigint generated always as identity primary key,
    lane_id       bigint not null,
    seq           bigint not null,
    at            bigint not null,
    what          bytea   not null,
    code          bytea,
    detail        bytea
);

create index hop_of_event on hop (lane_id, seq);

-- The provider's ids of outgoing messages, and what the provider reported by those ids. Neither waits for the other.
create table outgoing (
    channel_id    bigint not null,
    remote_id     bytea   not null,
    lane_id       bigint not null,
    seq           bigint not null,
    step          text    collate "C" not null,
    primary key (channel_id, remote_id)
);

create index outgoing_of_event on outgoing (lane_id, seq);

create table report (
    channel_id    bigint not null,
    remote_id     bytea   not null,
    -- 0 sent, 1 delivered, 2 read, 3 failed
    rank          bigint not null,
    at            bigint not null,
    code          bytea,
    primary key (channel_id, remote_id, rank)
);

create table identity (
    id              bigint primary key,
    channel_id      bigint not null,
    name            bytea,
    language        bytea,
    -- 0 reachable, 1 blocked, 2 opted out, 3 opted in
    reach           bigint not null default 0,
    reach_at        bigint not null default 0,
    last_inbound_at bigint,
    window_closed   bigint not null default 0,
    contact         bytea,
    written_name    bytea,
    -- The present conversation; with its workspace the key into thread.
    thread_workspace    bigint,
    thread_conversation bytea,
    -- Set when it turned out to be the same person as an older identity.
    joined_into     bigint,
    created_at      bigint not null
);

create index identity_of_contact on identity (contact) where contact is not null;

-- One owner each. A handle goes to whoever used it last; the others stay where they are.
create table alias (
    channel_id    bigint not null,
    -- 0 id, 1 parent id, 2 phone, 3 handle
    kind          bigint not null,
    value         bytea   not null,
    identity_id   bigint not null,
    since         bigint not null,
    primary key (channel_id, kind, value)
);

create index alias_of_identity on alias (identity_id);
create index alias_by_value on alias (value);

create table thread (
    workspace_id  bigint not null,
    conversation  bytea   not null,
    identity_id   bigint not null,
    opened_at     bigint not null,
    last_part_at  bigint not null,
    parts         bigint not null,
    primary key (workspace_id, conversation)
);

create index thread_of_identity on thread (identity_id);

create table own_part (
    workspace_id  bigint not null,
    part          bytea   not null,
    day           bigint not null,
    primary key (workspace_id, part)
);

create table workspace (
    id            bigint primary key,
    platform      text    collate "C" not null,
    platform_id   bytea   not null,
    name          bytea   not null,
    facts         bytea   not null,
    status        text    collate "C" not null,
    status_cause  bytea,
    status_since  bigint not null,
    added_by      bytea   not null,
    settings      bytea   not null,
    warning       bytea,
    created_at    bigint not null,
    updated_at    bigint not null
);

create unique index workspace_account on workspace (platform, platform_id) where status <> 'archived';

create table channel (
    id             bigint primary key,
    workspace_id   bigint not null,
    plugin         text    collate "C" not null,
    name           bytea   not null,
    external_id    bytea   not null,
    external_name  bytea   not null,
    fields         bytea   not null,
    status         text    collate "C" not null,
    status_cause   bytea,
    status_since   bigint not null,
    notices        bytea   not null,
    settings       bytea   not null,
    refused_groups bigint not null,
    created_at     bigint not null,
    updated_at     bigint not null
);

create unique index channel_account on channel (plugin, external_id) where status <> 'archived' and external_id <> ''::bytea;
create index channel_of_workspace on channel (workspace_id);

-- Sealed values. Several of one name while one is being rotated; place 0 is in use.
create table secret (
    owner         text    collate "C" not null,
    owner_id      bigint not null,
    name          text    collate "C" not null,
    place         bigint not null,
    key_id        bigint not null,
    nonce         bytea   not null,
    sealed        bytea   not null,
    primary key (owner, owner_id, name, place)
);

create table kv (
    channel_id    bigint not null,
    key           bytea   not null,
    value         bytea   not null,
    until         bigint,
    primary key (channel_id, key)
);

create table kept_answer (
    key           bytea   not null primary key,
    request       bytea   not null,
    status        bigint not null,
    body          bytea   not null,
    until         bigint not null
);

create index kept_answer_until on kept_answer (until);

create table media (
    id            bigint primary key,
    sha256        bytea   not null,
    name          bytea,
    content_type  text    collate "C" not null,
    bytes         bigint not null,
    created_at    bigint not null
);

create index media_of_bytes on media (sha256);
create index media_by_age on media (created_at);

-- The bytes of files, in pieces of at most 1 MiB: whichever host works a lane must have the files of its messages.
create table media_piece (
    sha256        bytea not null,
    place         bigint not null,
    bytes         bytea not null,
    -- By the server's clock: what no row names some time later is left over from a crash.
    put_at        bigint not null default server_ms(),
    primary key (sha256, place)
);

-- Pieces of pictures and films do not get smaller.
alter table media_piece alter column bytes set storage external;

-- What is being made in the inbox, by every name it goes by: one maker at a time, whichever host it is on.
create table making (
    workspace_id  bigint not null,
    key           bytea    not null,
    -- The event in whose turn it is made. Its right ends with the event.
    lane_id       bigint not null,
    seq           bigint not null,
    -- When a call for it left whose outcome is not known.
    announced_at  bigint,
    -- The inbox's id, once there is one.
    remote_id     bytea,
    since         bigint not null,
    primary key (workspace_id, key)
);

create index making_of_remote on making (workspace_id, remote_id) where remote_id is not null;

-- How far each workspace was looked through for replies that no webhook told.
create table sweep (
    workspace_id  bigint primary key,
    seen_until    bigint not null,
    next_at       bigint not null,
    -- Whoever looks it through has it until then.
    held_until    bigint not null default 0
);

-- Until when a secret that is no longer in use still proves a hook; null: it is in use.
alter table secret add column until bigint;

-- What pruning and the lists of what waits for a person go by.

create index own_part_by_day on own_part (day);
create index report_by_age on report (at);
create index ending_dead on ending (at) where state = 4;
create index receipt_waiting on receipt (id) where state <> 0;
