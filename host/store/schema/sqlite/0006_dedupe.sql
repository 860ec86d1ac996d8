-- Keys come in no order. Rows that lie by their key, and an index by day that ends in it, change two pages of their
-- own for each new one; rows in the order of their arrival change one, and need no index to be found when they are old.

create table dedupe_by_no (
    -- Rises with time.
    no            integer primary key,
    channel_id    integer not null,
    direction     integer not null,
    key           blob    not null,
    lane_id       integer not null,
    seq           integer not null,
    day           integer not null,
    deliveries    integer not null default 1,
    constraint dedupe_key unique (channel_id, direction, key)
) strict;

insert into dedupe_by_no (channel_id, direction, key, lane_id, seq, day, deliveries)
select channel_id, direction, key, lane_id, seq, day, deliveries from dedupe order by day;

drop table dedupe;
alter table dedupe_by_no rename to dedupe;
