//! The acceptance criteria of the pipeline once more, on PostgreSQL: the same tests, and what only a server has.
//!
//! `MANTLE_TEST_DATABASE=postgres` runs every test of this binary on it.

use anyhow::Result;
use mantle_it::database::on_postgres;

/// A second pass: each test begins with its hosts on PostgreSQL.
macro_rules! once_more {
    ($($($area:ident)::+ ,)*) => { once_more!(@each $([$($area)::+])*); };
    (@each $([$($path:ident)::+])*) => { $(once_more!(@one [] $($path)::+);)* };
    (@one [$($front:ident)*] $name:ident) => {
        #[test]
        fn $name() -> Result<()> {
            on_postgres(crate::$($front::)*$name)
        }
    };
    (@one [$($front:ident)*] $next:ident :: $($rest:ident)::+) => { once_more!(@one [$($front)* $next] $($rest)::+); };
}

once_more! {
    round_trip::in_1_out_1_a_text_crosses_both_ways,
    contacts::ct_4_first_messages_at_once_make_one_lead_though_the_index_lags,
    contacts::ct_4_in_4_two_channels_at_once_make_one_lead_though_the_index_lags,
    contacts::ct_4_a_lead_whose_making_was_not_answered_is_found_before_it_is_made_again,
    contacts::ct_16_a_message_waits_while_the_search_is_out_of_order,
    contacts::ct_16_a_message_waits_while_the_search_is_limited,
    making::ct_4_one_user_of_six_bots_is_one_lead_while_the_clock_stands,
    making::ct_4_in_4_a_lost_answer_and_an_index_of_ninety_seconds_make_no_second_lead,
    making::ct_4_in_8_a_lead_whose_maker_was_stopped_is_looked_for_by_everybody,
    making::c3_c4_an_opening_of_unknown_outcome_is_looked_for_in_growing_steps_and_made_once,
    making::c1_an_opening_that_was_surely_not_made_is_repeated_as_told_without_a_look,
    inbound::arriving::in_11_a_late_first_message_carries_the_providers_time,
    inbound::arriving::in_11_what_is_older_than_the_last_part_comes_last_with_its_time_in_words,
    inbound::arriving::in_11_a_time_in_the_future_is_now,
    inbound::repeated::in_5_a_whatsapp_message_told_again_and_again_is_one_part,
    inbound::repeated::in_6_messages_of_a_batch_repeated_in_other_envelopes_are_one_part_each,
    outages::in_12_an_hour_without_the_inbox_loses_nothing,
    outages::in_12_an_hour_of_rate_limits_loses_nothing,
    pace::c1_a_limit_in_seconds_holds_the_whole_account,
    pace::c1_a_limit_by_date_holds_the_whole_workspace,
    pace::c2_ten_minutes_of_errors_cost_one_probe_a_wait_and_no_order,
    pace::th_9_after_two_days_a_message_is_dead_with_an_alarm_and_a_replay_posts_once,
    pace::ct_16_a_failing_lookup_makes_nobody,
    pace::ct_16_a_limited_lookup_makes_nobody,
    pace::c19_p18_shuffled_statuses_never_go_backwards,
    pace::ws_7_c11_a_revoked_token_parks_the_workspace_until_a_new_one_comes,
    operations::p_5_p_6_parked_hooks_block_nobody_and_are_read_again_when_the_connector_is_back,
    operations::a_16_op_4_a_backup_under_load_comes_back_without_doubles_or_losses,
    operations::a_16_replies_that_may_have_been_sent_are_asked_about_and_not_sent_again,
    gaps::c16_out_3_replies_written_while_the_route_was_down_are_found_in_order_and_once,
    gaps::c16_op_2_replies_written_while_the_host_was_off_are_found_on_start,
    gaps::c16_out_3_a_lost_reply_is_found_within_five_minutes_in_an_idle_workspace,
    replies::sending::out_3_a_webhook_told_twice_or_late_sends_once,
    replies::sending::out_3_shuffled_webhooks_send_each_reply_once,
    replies::sending::out_8_telegram_keeps_the_order_behind_a_slow_upload,
    replies::sending::out_8_whatsapp_keeps_the_order_behind_a_slow_upload,
    replies::sending::out_8_sms_keeps_the_order_behind_a_slow_send,
    replies::outcomes::out_9_telegram_waits_as_long_as_a_limit_says,
    replies::outcomes::out_9_whatsapp_waits_as_long_as_a_limit_says,
    replies::outcomes::out_9_sms_waits_as_long_as_a_limit_says,
    replies::outcomes::out_9_telegram_is_waited_for_when_unavailable,
    replies::outcomes::out_9_a_provider_that_cannot_be_reached_is_waited_for,
    replies::refusals::out_12_resend_is_a_new_attempt_beside_the_old_one,
    doubts::out_10_telegram_a_lost_answer_is_unknown,
    doubts::out_10_whatsapp_a_status_in_time_settles_a_lost_answer_without_a_note,
    doubts::out_10_whatsapp_a_receipt_after_the_note_is_told_once,
    doubts::c4_sms_a_lost_answer_makes_no_double_and_no_loss,
    doubts::out_10_sms_a_status_settles_what_the_list_does_not_show,
    doubts::c14_sms_two_equal_messages_stay_two_when_the_first_is_in_doubt,
    doubts::out_10_the_note_has_a_link_that_sends_once_more_and_once_only,
    doubts::out_12_each_attempt_that_fails_has_a_link_of_its_own,
    doubts::out_9_telegram_one_person_gets_one_message_a_second,
    attachments::inward::at_3_telegram_a_file_follows_when_it_can_be_had,
    attachments::inward::at_3_whatsapp_a_file_follows_when_it_can_be_had,
    attachments::inward::at_3_sms_a_file_follows_when_it_can_be_had,
    attachments::inward::at_3_an_upload_of_unknown_outcome_that_arrived_is_one_part,
    attachments::inward::at_3_words_do_not_wait_for_an_upload_of_unknown_outcome,
    attachments::inward::at_3_an_upload_that_never_succeeds_is_a_note_after_a_day,
    attachments::inward::at_3_a_file_that_cannot_be_had_for_a_day_is_a_note,
}
