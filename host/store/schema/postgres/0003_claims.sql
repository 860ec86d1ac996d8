-- Claims change with every turn. Without an index on them a claim is written beside the row's other version and touches
-- no index; what is to be taken back is known by its lanes.
drop index lane_owned;
