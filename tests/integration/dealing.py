# SPDX-License-Identifier: Apache-2.0
"""Which worker of pytest gets which test: the longest first, one by one. Tests of a file that starts something for all of
them (a fixture of scope "module") stay together."""
import pathlib

from xdist.scheduler import LoadScopeScheduling

HERE = pathlib.Path(__file__).parent

# What takes half a minute and more, the longest first: files whose tests stay together, and tests.
LONGEST = """
test_isolation.py
test_opening.py
test_memory.py
test_exactly_once.py::test_an_output_without_a_leader
test_custody_outage.py::test_every_kind_of_outage
test_schema_registry.py
test_custody_outage.py::test_a_custodian_that_nobody_needs_now_is_asked
test_outage.py::test_broker_down_at_start_and_later
test_custody_outage.py::test_an_hsm_drops_its_sessions_and_its_token
test_exactly_once.py::test_a_broker_that_restarts
test_names_wait.py::test_brokers_that_do_not_answer_leave_the_loops_alive
test_registry_kafka.py::test_the_broker_goes_and_comes_back
test_outage.py::test_a_frozen_broker_pauses_and_goes_on
test_outage.py::test_sigterm_while_the_broker_is_frozen
test_exactly_once.py::test_outputs_slower_than_a_transaction_may_last
test_custody_outage.py::test_a_refused_login_is_not_repeated
test_names_wait.py::test_a_stop_while_the_registry_does_not_answer_is_in_time
test_custody_outage.py::test_a_stranger_or_garbage_publishes_nothing
test_unreadable.py::test_a_record_that_ends_each_process
test_named_keys.py::test_races_give_each_name_one_key
test_keys_commands.py::test_rewrap_is_killed_and_goes_on
test_secure_kafka.py
test_custody_outage.py::test_tokens_end_and_the_kek_has_a_new_version
test_registry_kafka.py::test_a_topic_that_loses_keys_is_noticed_and_backed_up_in_time
test_run.py::test_livez_fails_when_a_loop_hangs
test_outage.py::test_brokers_gone_are_noticed_counted_and_come_back
test_run.py::test_keys_rotate_while_running
test_names_wait.py::test_a_member_stays_while_the_producer_is_slow
test_custody_outage.py::test_one_custodian_away_holds_up_no_other_and_no_end
test_outage.py::test_a_replay_in_an_outage_ends_on_a_signal
test_names_wait.py::test_a_member_stays_while_its_record_waits
test_exactly_once.py::test_two_processes_of_one_instance
test_registry_kafka.py::test_races_give_one_key_each_and_no_lease_twice
test_debezium.py
test_custody_outage.py::test_a_start_while_the_custodian_is_down
test_keys_commands.py::test_rewrap_never_brings_back_what_ends_meanwhile
test_unreadable.py::test_gaps_by_the_hundred_are_not_all_looked_at
""".split()
for _file, _, _name in (entry.partition("::") for entry in LONGEST):
    assert f"def {_name}" in (HERE / _file).read_text(), f"{_file} has no {_name} any more"


def rank(nodeid):
    """Of a test whose id is tests/integration/test_X.py::test_y[…]: its place in LONGEST, or the one after them."""
    file, name = nodeid.split("[")[0].split("::")[:2]
    file = pathlib.PurePath(file).name
    for i, entry in enumerate(LONGEST):
        if entry in (file, f"{file}::{name}"):
            return i
    return len(LONGEST)


def stays_together(file):
    return 'scope="module"' in (HERE / pathlib.PurePath(file).name).read_text()


class Dealer(LoadScopeScheduling):
    def __init__(self, config, log):
        super().__init__(config, log)
        config.option.loadscopereorder = False  # their order is conftest.py's

    def _split_scope(self, nodeid):
        file = nodeid.split("::")[0]
        return file if stays_together(file) else nodeid
