//! What every store promises, written against the traits alone, run on each database.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod budgets;
mod desk;
mod directory;
mod handing;
mod intake;
mod keyed;
mod lanes;
mod ledger;
mod people;
mod upkeep;

use desk::Desk;
use mantle_store::testing::TestStore;

macro_rules! on_each_database {
    ($($area:ident :: $test:ident),* $(,)?) => {
        mod sqlite {
            use super::*;
            $(
                #[tokio::test]
                async fn $test() {
                    let test = TestStore::open().await.unwrap();
                    $area::$test(&Desk::new(&*test.store, &test.clock)).await;
                }
            )*
        }

        mod postgres {
            use super::*;
            $(
                #[tokio::test]
                async fn $test() {
                    let Some(test) = TestStore::open_postgres().await.unwrap() else { return };
                    $area::$test(&Desk::new(&*test.store, &test.clock)).await;
                }
            )*
        }
    };
}

on_each_database! {
    intake::an_event_told_twice_in_turn_is_stored_once,
    intake::an_event_told_twice_in_one_request_is_stored_once,
    intake::an_event_told_many_times_at_once_is_stored_once,
    intake::one_key_in_both_directions_names_two_events,
    intake::receipts_are_read_back_as_they_came,
    intake::in_7_an_unread_hook_told_again_is_kept_once,
    intake::in_7_good_items_of_a_parked_hook_are_stored,
    intake::an_unread_hook_is_due_in_time_and_read_later,
    intake::a_customer_who_wrote_opens_the_window,
    lanes::p3_what_goes_ahead_stands_beside_the_persons_own_queue,
    lanes::f8_what_waits_is_counted_by_channel_and_direction,
    people::any_alias_but_the_handle_finds_the_identity,
    people::aliases_of_two_people_go_by_the_lasting_id,
    people::a_handle_moves_on_with_its_user,
    people::identities_are_joined_into_the_older,
    people::a_conversation_leads_to_its_identity_even_when_left,
    people::of_two_conversations_in_one_commit_the_later_one_is_current,
    people::a_merged_contact_moves_its_links,
    people::own_parts_are_known,
    people::an_older_word_on_reach_does_not_undo_a_newer,
    lanes::events_of_a_lane_come_in_order_and_one_worker_at_a_time,
    lanes::an_arrival_during_work_brings_no_second_worker,
    lanes::a_lost_claim_commits_nothing,
    lanes::finishing_out_of_turn_is_refused_whole,
    lanes::a_repeated_commit_changes_nothing,
    lanes::a_retry_waits_and_counts_what_counts,
    lanes::a_busy_channel_does_not_crowd_out_others,
    lanes::a_delayed_event_waits_for_its_time,
    lanes::a_channel_that_came_back_wakes_its_lanes,
    lanes::effects_stay_with_their_event,
    lanes::open_effects_are_found_by_target,
    lanes::a_spawned_event_comes_with_the_commit_or_not_at_all,
    lanes::a_waiting_worker_is_woken_by_an_arrival,
    handing::what_comes_for_a_lane_at_rest_is_handed_over_whole,
    handing::a_lane_handed_over_is_worked_and_at_rest_again,
    handing::what_comes_for_a_lane_in_hand_waits_until_it_is_given_back,
    handing::what_there_is_no_room_for_is_found_by_looking,
    handing::who_stops_asking_leaves_what_was_handed_over,
    handing::what_was_put_off_is_not_handed_over,
    handing::what_is_told_twice_is_handed_over_once,
    ledger::in_10_a_message_goes_from_stored_to_posted,
    ledger::endings_tell_their_reason,
    ledger::ap_2_reports_give_one_state_in_every_order,
    ledger::ap_2_a_message_in_parts_is_as_far_as_its_last_part,
    ledger::an_unknown_message_that_arrives_after_all_is_known,
    ledger::out_10_a_word_from_another_lane_settles_a_send,
    ledger::out_12_only_the_newest_attempt_is_sent_again,
    ledger::out_9_the_newest_send_of_a_lane_is_found,
    ledger::a_replay_keeps_the_attempts_before,
    ledger::what_did_not_fail_is_not_replayed,
    ledger::lists_are_filtered_and_paged,
    ledger::a_message_is_found_by_either_id,
    ledger::traffic_and_backlog_are_counted,
    directory::a_workspace_is_connected_once,
    directory::racing_channels_of_one_account_have_one_winner,
    directory::channels_being_set_up_do_not_collide,
    directory::changes_touch_what_they_name,
    directory::a_forgotten_channel_leaves_nothing,
    directory::pv_4_a_renewed_secret_takes_the_place_of_the_one_in_use,
    keyed::values_end_with_their_time,
    keyed::a_value_is_swapped_only_if_it_is_as_expected,
    keyed::an_answer_is_kept_for_a_day,
    keyed::media_rows_are_kept_and_swept,
    budgets::c1_leases_of_all_hosts_stay_within_the_rate,
    budgets::out_9_a_hold_is_known_to_all_and_the_longer_one_counts,
    budgets::c2_one_of_all_hosts_tries_and_all_hear_how_it_went,
    budgets::what_nobody_used_for_a_day_is_forgotten,
    upkeep::pv_2_finished_messages_go_with_all_that_belongs_to_them,
    upkeep::in_5_keys_outlive_their_messages,
    upkeep::raw_hooks_go_but_for_those_still_to_be_read,
    upkeep::own_parts_and_strange_reports_go_in_time,
    upkeep::p_5_parked_hooks_are_listed_and_read_again,
    upkeep::figures_tell_how_things_stand,
    upkeep::a_16_unfinished_events_are_told_and_put_in_doubt,
}
