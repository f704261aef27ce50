"""Batches: effective time, order, duplicates, sessions."""

from sentineld.batch import Part, combine, effective_times, merge_keys, split_rows
from sentineld.event import FILE
from sentineld.rows import Rows


def part(*rows, source=1, owner=1000, lo=100, hi=200, file_time=150, is_history=False, **more):
    columns = Rows(
        [at for at, *_ in rows],
        [agent for _, agent, *_ in rows],
        [FILE] * len(rows),
        [7] * len(rows),
        ["file_read"] * len(rows),
        [n * 10 for n in range(len(rows))],
        {n: row[2] for n, row in enumerate(rows) if len(row) > 2},
    )
    return Part(source, owner, 0, 0, lo, hi, file_time, is_history, columns, **more)


def key_of(owner, agent_id):
    return (owner, agent_id)


def times(inputs, agent="a", owner=1000):
    return [item[0] for item in inputs.observations[(owner, agent)]]


def test_a_live_event_counts_inside_the_bracket_in_which_its_line_was_written():
    live = part((5, "a"), (100, "a"), (150, "a"), (200, "a"), (999, "a"))

    assert effective_times(live) == [100, 100, 150, 200, 200]
    assert live.clamped == 2


def test_history_counts_at_its_own_time_but_never_later_than_the_read():
    history = part((5, "a"), (999, "a"), is_history=True)

    assert effective_times(history) == [5, 200]
    assert history.clamped == 1


def test_an_event_without_time_counts_at_the_files_time_and_is_counted_as_such():
    live = part((None, "a"), (160, "a"), file_time=150)

    assert effective_times(live) == [150, 160]
    assert (live.timeless, live.clamped) == (1, 0)


def test_counts_of_a_part_are_its_own_after_a_split():
    whole = part((None, "a"), (999, "a"), (150, "a"))
    effective_times(whole)
    whole.rows = split_rows(whole.rows, 2)[1]
    effective_times(whole)

    assert (whole.timeless, whole.clamped) == (0, 0)


def test_the_order_inside_a_file_is_kept_whatever_its_times_say():
    inputs = combine([part((180, "a"), (120, "a"), (150, "a"))], key_of)

    assert times(inputs) == [180, 120, 150]


def test_files_are_merged_by_time_and_ties_keep_the_order_of_the_parts():
    one = part((110, "a"), (130, "a"), (120, "a"), source=1)
    two = part((130, "a"), (125, "a"), source=2)

    inputs = combine([two, one], key_of)

    assert [(item[0], item[4]) for item in inputs.observations[(1000, "a")]] == [
        (110, 1),
        (130, 2),
        (125, 2),
        (130, 1),
        (120, 1),
    ]


def test_parts_of_one_file_stay_in_order_though_one_of_them_holds_duplicates():
    first = part((110, "a"), (111, "a"), duplicates={0})
    second = part((112, "a"))

    assert times(combine([first, second], key_of)) == [111, 112]


def test_duplicates_count_nowhere():
    copied = part((110, "a"), (111, "b"), duplicates={1})
    copied.rows.tool_calls = [0, 1]

    inputs = combine([copied], key_of)

    assert (inputs.events, inputs.tool_calls, inputs.event_types) == (1, 1, {"file_read": 1})
    assert list(inputs.observations) == [(1000, "a")]


def test_the_same_claim_of_two_owners_is_two_agents():
    inputs = combine([part((110, "a"), source=1), part((110, "a"), source=2, owner=1001)], key_of)

    assert list(inputs.observations) == [(1000, "a"), (1001, "a")]


def test_agents_are_admitted_in_the_order_in_which_they_act_and_once_each():
    asked = []

    def admit(owner, agent_id):
        asked.append(agent_id)
        return (owner, agent_id)

    combine([part((130, "b"), (140, "b"), source=1), part((110, "a"), (150, "b"), source=2)], admit)

    assert asked == ["a", "b"]


def test_events_that_are_charged_to_one_agent_stay_in_order():
    everything = combine([part((110, "a"), (120, "b"), (130, "a"))], lambda owner, _: (owner, "all"))

    assert times(everything, "all") == [110, 120, 130]


def test_sessions_run_beside_the_observations_of_agents_that_name_any():
    inputs = combine([part((110, "a"), (120, "a", "s"), (130, "b"))], key_of)

    assert inputs.sessions == {(1000, "a"): ["", "s"]}


def test_merge_keys_never_go_back_not_even_between_parts():
    assert merge_keys([3, 1, 5]) == [3, 3, 5]
    assert merge_keys([3, 1, 5], 4) == [4, 4, 5]
    assert merge_keys([], 4) == []


def test_an_empty_batch_means_nothing():
    inputs = combine([], key_of)

    assert (inputs.observations, inputs.sessions, inputs.events) == ({}, {}, 0)
    assert combine([part()], key_of).observations == {}
