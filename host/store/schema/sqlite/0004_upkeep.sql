-- What pruning and the lists of what waits for a person go by.

create index own_part_by_day on own_part (day);
create index report_by_age on report (at);
create index ending_dead on ending (at) where state = 4;
create index receipt_waiting on receipt (id) where state <> 0;
