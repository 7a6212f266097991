//! Supervision in virtual time: real panics in real actors, on one thread whose clock only moves when nothing else can.

#[path = "support/life.rs"]
mod life;
#[path = "support/restarts.rs"]
mod restarts;
#[path = "support/supervised.rs"]
mod supervised;

/// Makes a test of each of these stories.
macro_rules! scenarios {
    ($room:ident, $run:path: $($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            $run($room::$name());
        })*
    };
}

use supervised::paused;

scenarios!(restarts, paused: one_for_one_restarts_only_the_one, one_for_all_restarts_all, rest_for_one_restarts_those_after_it, shutdown_stops_in_reverse_order, restart_types_mean_what_they_mean_in_otp, a_sibling_takes_temporary_children_with_it_for_good, the_sixth_restart_in_the_period_is_one_too_many, the_window_slides, intensity_counts_the_whole_group, delays_double_up_to_the_cap, a_healthy_minute_forgets_failures, a_start_that_is_never_ready_is_killed_and_counted, a_failed_start_of_any_kind_is_retried_and_counted, the_next_child_starts_when_the_one_before_is_ready, significant_children_end_the_group, terminating_a_significant_child_does_not_end_the_group, contradictions_are_refused_before_anything_starts);

scenarios!(life, paused: an_actor_that_takes_no_messages_is_killed_after_one_to_two_heartbeats, what_looks_slow_but_is_not_stuck_is_left_alone, protection_ends_with_its_guard, who_opts_out_is_never_asked, no_panic_gets_away, messages_behind_a_panic_are_answered_not_lost, asked_to_stop_a_child_finishes_what_it_has, a_child_that_does_not_stop_is_killed, tasks_are_kept_like_actors, a_first_delay_of_nothing_restarts_in_the_same_breath, an_exhausted_child_is_set_aside_and_tried_at_intervals, a_manual_restart_ends_quarantine_at_once, a_crash_loop_among_two_hundred_disturbs_nobody, children_come_and_go, what_contradicts_itself_is_not_added, a_child_in_a_bad_way_can_be_deleted, an_exhausted_supervisor_is_restarted_by_its_own, a_transient_supervisor_that_gives_up_is_not_restarted, a_tree_is_stopped_from_its_leaves, a_root_can_be_stopped_while_it_starts, the_tree_can_be_read, the_operator_has_the_last_word);
