"""LoadGen's logs: what real ones say, that they stand, and that every tampered one is found and named."""
import dataclasses
import re
import shutil

import pytest

from scoring import loadgen_log
from scoring.problem import Problem
from scoring.scenarios import ROUNDS, rules
from tests.scoring import loadgen_runs
from tests.scoring.loadgen_runs import GOLDEN, NUM_SAMPLES

ASKED = rules('cifar10', 'toy')
STANDING = [*((name, 'performance') for name in ASKED.scenarios), ('single_stream', 'accuracy'),
            ('multi_stream', 'accuracy')]


def faults(folder, scenario: str, mode: str, *, asked=ASKED, num_samples: int = NUM_SAMPLES) -> list[str]:
  return loadgen_log.faults(folder, mode=mode, rules=asked, scenario=asked.scenario(scenario), num_samples=num_samples)


@pytest.mark.parametrize('scenario, mode', STANDING)
def test_real_runs_stand(scenario, mode):
  assert faults(GOLDEN / scenario / mode, scenario, mode) == []


def test_the_numbers_of_a_real_run_are_those_of_its_logs():
  folder = GOLDEN / 'single_stream/performance'
  text, made = (folder / loadgen_log.SUMMARY).read_text(), loadgen_log.read(folder)
  for name, label in (('mean', 'Mean'), ('p50', '50.00 percentile'), ('p99', '99.00 percentile')):
    assert made['latency_ns'][name] == int(re.search(rf'{label} latency \(ns\) *: (\d+)', text)[1])
  assert made['early_stopping_ns'] == int(re.search(r'90.0th percentile estimate: (\d+)', text)[1])
  assert made['queries'] == made['samples'] == int(re.search(r'64 queries \((\d+)\)', text)[1])
  rate = float(re.search(r'QPS w/ loadgen overhead *: ([\d.]+)', text)[1])
  assert made['samples_per_second'] == pytest.approx(rate, rel=1e-4)
  assert made['duration_seconds'] == pytest.approx(made['queries'] / rate, abs=0.002)
  assert (made['loadgen'], made['validity'], made['total_samples']) == ('6.0.17', 'VALID', NUM_SAMPLES)
  assert made['errors'] == [] and made['settings']['min_duration_ms'] == 100


def test_each_scenario_has_its_rate_and_its_official_latency():
  made = {name: loadgen_log.read(GOLDEN / name / 'performance') for name in ASKED.scenarios}
  assert made['multi_stream']['samples'] == 8 * made['multi_stream']['queries']
  assert made['multi_stream']['samples_per_second'] == pytest.approx(
      made['multi_stream']['samples'] / made['multi_stream']['duration_seconds'])
  assert made['offline']['queries'] == 1 and made['offline']['samples'] == 24_576
  assert made['offline']['samples_per_second'] == pytest.approx(
      24_576 / made['offline']['latency_ns']['max'] * 1e9, rel=0.01)
  assert made['server']['scheduled_samples_per_second'] == pytest.approx(10_000, rel=0.2)
  assert made['server']['early_stopping_ns'] is None and made['offline']['early_stopping_ns'] is None
  assert made['multi_stream']['early_stopping_ns'] > made['multi_stream']['latency_ns']['p90']


def test_a_run_of_accuracy_has_no_latency():
  made = loadgen_log.read(GOLDEN / 'single_stream/accuracy')
  assert made['latency_ns'] is made['queries'] is made['samples_per_second'] is made['validity'] is None
  assert made['mode'] == 'AccuracyOnly' and made['total_samples'] == NUM_SAMPLES


def test_a_real_run_over_the_limit_does_not_stand():
  found = faults(GOLDEN / 'server_invalid', 'server', 'performance')
  for text in ('Result is INVALID (summary)', 'Result is INVALID (detail log)', 'early stopping not satisfied'):
    assert any(text in fault for fault in found), found


def test_a_real_run_with_an_error_does_not_stand_although_loadgen_calls_it_valid():
  folder = GOLDEN / 'single_stream_twice'
  assert loadgen_log.read(folder)['validity'] == 'VALID'
  found = faults(folder, 'single_stream', 'performance')
  assert found == ['error in the detail log: Attempted to complete a sample twice.', '1 errors, wanted none']


SEED = str(ROUNDS['v6.1'].qsl_rng_seed)
SINGLE, MULTI, SERVER = 'single_stream/performance', 'multi_stream/performance', 'server/performance'
ANSWERS = 'single_stream/accuracy'
# (folder, file, what is replaced, by what, the fault)
TAMPERED = [
    (SINGLE, 'summary', 'Result is : VALID', 'Result is : INVALID', r'Result is INVALID \(summary\)'),
    (SINGLE, 'summary', 'Result is : VALID\n', '', r'Result is not told \(summary\)'),
    (SINGLE, 'summary', 'No errors encountered', '3 ERRORS encountered', '1 errors'),
    (SINGLE, 'summary', 'No errors encountered during test.', '', 'not a whole summary'),
    (SINGLE, 'summary', 'Scenario : SingleStream', 'Scenario : Offline', 'in the summary is Offline'),
    (SINGLE, 'summary', r'99.00 percentile latency (ns)   : ', '99.00 percentile latency (ns) : 1',
     'latencies of the summary'),
    (SINGLE, 'detail', '"VALID"', '"INVALID"', r'Result is INVALID \(detail log\)'),
    (SINGLE, 'detail', '"key": "result_min_duration_met", "value": true',
     '"key": "result_min_duration_met", "value": false', 'minimum duration not satisfied'),
    (SINGLE, 'detail', '"key": "result_min_queries_met", "value": true',
     '"key": "result_min_queries_met", "value": false', 'minimum queries not satisfied'),
    (SINGLE, 'detail', '"key": "early_stopping_met", "value": true',
     '"key": "early_stopping_met", "value": false', 'early stopping not satisfied'),
    (SINGLE, 'detail', '"is_error": false', '"is_error": true', 'error in the detail log: 6.0.17'),
    (SINGLE, 'detail', '"key": "num_errors", "value": 0', '"key": "num_errors", "value": 2',
     '2 errors, wanted none'),
    (SINGLE, 'detail', f'requested_qsl_rng_seed", "value": {SEED}',
     'requested_qsl_rng_seed", "value": 7', r'requested qsl_rng_seed \(round v6.1\) is 7'),
    (SINGLE, 'detail', f'effective_qsl_rng_seed", "value": {SEED}',
     'effective_qsl_rng_seed", "value": 0', r'effective qsl_rng_seed \(round v6.1\) is 0'),
    (SINGLE, 'detail', '6.0.17 @', '5.0.20 @', 'LoadGen is 5.0.20, round v6.1 is of 6.0.16, 6.0.17'),
    (SINGLE, 'detail', '"key": "result_query_count", "value": ',
     '"key": "result_query_count", "value": 9999', 'queries, wanted 100 to'),
    (SINGLE, 'detail', '"key": "effective_min_query_count", "value": 100',
     '"key": "effective_min_query_count", "value": 10000000', 'queries, wanted 10000000 to'),
    (SINGLE, 'detail', '"key": "effective_min_duration_ms", "value": 100',
     '"key": "effective_min_duration_ms", "value": 600000', r'0\.1 s long, wanted 600 s or more'),
    (SINGLE, 'detail', '"key": "effective_test_mode", "value": "PerformanceOnly"',
     '"key": "effective_test_mode", "value": "AccuracyOnly"', 'the mode is AccuracyOnly, wanted PerformanceOnly'),
    (SINGLE, 'detail', 'effective_target_latency_percentile", "value": 0.9',
     'effective_target_latency_percentile", "value": 0.5', 'the percentile is 0.5, wanted 0.9'),
    (SINGLE, 'detail', 'effective_performance_sample_count", "value": 100',
     'effective_performance_sample_count", "value": 1', 'performance_sample_count is 1, wanted 100 or more'),
    (SINGLE, 'detail', ':::MLLOG', ':::OTHER', 'line 1: not a line of LoadGen'),
    (SINGLE, 'detail', '"event_type"', 'event_type', 'line 1: not a line of LoadGen'),
    (SINGLE, 'detail', 'early_stopping_latency_ss', 'early_stopping_latency_xx', 'does not tell'),
    (MULTI, 'detail', 'effective_samples_per_query", "value": 8',
     'effective_samples_per_query", "value": 16', 'samples_per_query is 16, wanted 8'),
    (SERVER, 'detail', 'effective_target_latency_ns", "value": 15000000',
     'effective_target_latency_ns", "value": 99000000', 'the latency limit in ns is 99000000, wanted 15000000'),
    (SERVER, 'detail', '"key": "result_perf_constraints_met", "value": true',
     '"key": "result_perf_constraints_met", "value": false', 'performance constraints not satisfied'),
    (SERVER, 'detail', 'result_perf_constraints_met', 'result_perf_constraints', 'constraints are not told'),
    (SERVER, 'user.conf', 'target_qps = 10000', 'target_qps = 20000', 'user.conf says target_qps = 20000'),
    (SERVER, 'user.conf', 'target_latency = 15', 'target_latency = 16', 'user.conf says target_latency = 16'),
    (SERVER, 'user.conf', 'min_duration = 100', 'min_duration = 600000',
     'user.conf says min_duration = 600000, the log 100'),
    (SERVER, 'user.conf', 'Server.target_qps', 'Offline.target_qps', 'is not for daybreak-cifar10.Server'),
    (ANSWERS, 'accuracy', '"qsl_idx" : 7,', '"qsl_idx" : 8,', '1 sample missing, first 7'),
    (ANSWERS, 'accuracy', '"qsl_idx" : 7,', '"qsl_idx" : 8,', '1 sample answered more than once, first 8'),
    (ANSWERS, 'accuracy', '"qsl_idx" : 7,', '"qsl_idx" : 700,', '1 sample not in the data set, first 700'),
    (ANSWERS, 'accuracy', '\n]', '', 'not a whole log of answers'),
    (ANSWERS, 'accuracy', '"data" : "', '"data" : "Z', 'not a whole log of answers'),
]
FILES = {'summary': loadgen_log.SUMMARY, 'detail': loadgen_log.DETAIL, 'accuracy': loadgen_log.ACCURACY,
         'user.conf': loadgen_log.USER_CONF}


@pytest.mark.parametrize('name, file, old, new, fault', TAMPERED)
def test_tampered_logs_are_found_and_named(tmp_path, name, file, old, new, fault):
  folder, (scenario, mode) = tmp_path / 'run', name.split('/')
  shutil.copytree(GOLDEN / name, folder)
  path = folder / FILES[file]
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  found = faults(folder, scenario, mode)
  assert any(re.search(fault, line) for line in found), found


def test_a_missing_and_a_repeated_answer_are_found(tmp_path):
  shutil.copytree(GOLDEN / 'single_stream/accuracy', tmp_path / 'run')
  path = tmp_path / 'run' / loadgen_log.ACCURACY
  lines = path.read_text().splitlines(keepends=True)
  path.write_text(''.join(lines[:3] + lines[4:]))
  assert re.fullmatch(r'1 sample missing, first \d+', faults(tmp_path / 'run', 'single_stream', 'accuracy')[0])
  path.write_text(''.join(lines[:3] + [lines[2]] + lines[3:]))
  assert re.fullmatch(r'1 sample answered more than once, first \d+',
                      faults(tmp_path / 'run', 'single_stream', 'accuracy')[0])


def test_a_multi_stream_may_fill_up_its_last_query_and_no_more(tmp_path):
  shutil.copytree(GOLDEN / 'multi_stream/accuracy', tmp_path / 'run')
  path = tmp_path / 'run' / loadgen_log.ACCURACY
  lines = path.read_text().splitlines(keepends=True)
  assert len(lines) - 2 == 104  # 13 queries of 8
  path.write_text(''.join([lines[0], lines[1], *lines[1:]]))
  assert '5 samples answered more than once' in faults(tmp_path / 'run', 'multi_stream', 'accuracy')[0]


def test_settings_that_are_told_twice_are_two_runs(tmp_path):
  shutil.copytree(GOLDEN / 'offline/performance', tmp_path / 'run')
  path = tmp_path / 'run' / loadgen_log.DETAIL
  path.write_text(path.read_text() * 2)
  assert 'qsl_reported_total_count is there twice' in faults(tmp_path / 'run', 'offline', 'performance')[0]


@pytest.mark.parametrize('scenario, mode', STANDING)
@pytest.mark.parametrize('name', [loadgen_log.SUMMARY, loadgen_log.DETAIL, loadgen_log.USER_CONF])
def test_a_missing_file_is_named(tmp_path, scenario, mode, name):
  shutil.copytree(GOLDEN / scenario / mode, tmp_path / 'run')
  (tmp_path / 'run' / name).unlink()
  found = faults(tmp_path / 'run', scenario, mode)
  assert len(found) == 1 and name in found[0] and 'cannot read' in found[0]


@pytest.mark.parametrize('scenario, mode', STANDING)
def test_a_log_that_ends_early_does_not_stand(tmp_path, scenario, mode):
  shutil.copytree(GOLDEN / scenario / mode, tmp_path / 'run')
  path = tmp_path / 'run' / loadgen_log.DETAIL
  lines = path.read_text().splitlines(keepends=True)
  for kept in (0, 10, len(lines) // 2, len(lines) - 1):
    path.write_text(''.join(lines[:kept]))
    assert 'run the scenario again' in faults(tmp_path / 'run', scenario, mode)[0], kept
  with pytest.raises(Problem, match='whole log'):
    loadgen_log.read(tmp_path / 'run')


def test_another_scenario_mode_count_or_round_is_named():
  folder = GOLDEN / 'single_stream/performance'
  assert 'the scenario is SingleStream, wanted Offline' in faults(folder, 'offline', 'performance')
  assert 'the mode is PerformanceOnly, wanted AccuracyOnly' in faults(folder, 'single_stream', 'accuracy')
  assert 'the data set is 100, wanted 101' in faults(folder, 'single_stream', 'performance', num_samples=101)
  found = faults(folder, 'single_stream', 'performance', asked=dataclasses.replace(ASKED, round='v6.0'))
  assert any(f'qsl_rng_seed (round v6.0) is {SEED}' in line for line in found)
  assert any('round v6.0 is of 6.0.14, 6.0.15' in line for line in found)


def test_what_is_short_of_the_rules_is_told():
  made = loadgen_log.read(GOLDEN / 'offline/performance')
  assert loadgen_log.shortfalls(made, ASKED, ASKED.scenario('offline')) == [
      'configured to last 0.1 s, v6.1 asks 600 s', '100 samples in memory, v6.1 asks 1024']
  made['settings'] |= {'min_duration_ms': 600_000, 'performance_sample_count': 1024}
  assert loadgen_log.shortfalls(made, ASKED, ASKED.scenario('offline')) == []
  made['samples'] = 24_575
  assert loadgen_log.shortfalls(made, ASKED, ASKED.scenario('offline')) == ['24575 samples, v6.1 asks 24576']
  made['settings']['performance_issue_unique'] = True
  assert 'draws them at random' in loadgen_log.shortfalls(made, ASKED, ASKED.scenario('offline'))[-1]


def test_a_whole_set_once_is_a_run_that_stands(tmp_path):
  pytest.importorskip('mlperf_loadgen', reason=loadgen_runs.REASON)
  loadgen_runs.finish(loadgen_runs.start(tmp_path, 'cifar10', 'toy', 'single_stream', 'performance',
                                         whole_set=NUM_SAMPLES))
  assert faults(tmp_path, 'single_stream', 'performance') == []
  made = loadgen_log.read(tmp_path)
  assert made['queries'] == NUM_SAMPLES
  assert loadgen_log.shortfalls(made, ASKED, ASKED.scenario('single_stream'))[-1] == (
      'each sample was issued once, v6.1 draws them at random')
