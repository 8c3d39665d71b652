"""MLPerf logs: the real checker passes what is right and fails what is wrong; live log and later log are the same."""
import json
import logging
import os
import subprocess
import sys

import pytest

from scoring import mlperf
from scoring import tape as tapes
from scoring.problem import Problem
from tests.tapes import HEADER, Story, closing_files, record

RULES = tapes.ROOT / 'scoring' / 'rules' / 'cifar.yaml'
DIGITS = {'benchmark': 'digits', 'num_train_examples': 1400, 'batch_size': 128,
          'target': {'metric': 'accuracy', 'value': 0.98, 'num_examples': 364}}
LARS = {'opt_name': 'lars', 'lars_epsilon': 0.0, 'lars_opt_base_learning_rate': 7.4, 'lars_opt_end_learning_rate': 1e-4,
        'lars_opt_learning_rate_decay_poly_power': 2, 'lars_opt_learning_rate_decay_steps': 27476,
        'lars_opt_learning_rate_warmup_epochs': 2, 'lars_opt_momentum': 0.9, 'lars_opt_weight_decay': 5e-5,
        'model_bn_span': 204, 'gradient_accumulation_steps': 1}
IMAGENET = {'benchmark': 'imagenet', 'num_train_examples': 1281167, 'batch_size': 1632, 'hyperparameters': LARS,
            'target': {'metric': 'accuracy', 'value': 0.759, 'num_examples': 50000}}


@pytest.fixture(autouse=True)
def opened(monkeypatch):
  with closing_files(monkeypatch) as files:
    yield files


def checker(text, folder, *options):
  """(whether the checker's line SUCCESS stands, what it printed)."""
  (folder / 'result_0.txt').write_text(text)
  done = subprocess.run(
      [sys.executable, '-m', 'mlperf_logging.compliance_checker', '--ruleset', '4.0.0', '--werror', '--log_output',
       str(folder / 'checker.log'), *options, str(folder / 'result_0.txt')], capture_output=True, text=True)
  said = done.stdout + done.stderr
  assert 'Running compliance' in said, said
  return any(line.endswith('SUCCESS') for line in said.splitlines()), said


def check(text, folder):
  return checker(text, folder, '--config', str(RULES))


def started(**header):
  return Story(**header).set_up().point('run_start', step=0).span('data', 1.0)


def restarted(path=None):
  """A run that was killed in training, long after a checkpoint, and then in evaluation, right after one."""
  story = started(path=path).train(10.0).eval(2.0, 0.9)
  first = story.checkpoint(1.0)
  story.train(5.0).eval(2.0, 0.91).killed_in('train', 1.0, **story.where())
  story.restart(first, after=60.0).set_up().span('data', 1.0).train(5.0, steps=50)
  second = story.checkpoint(1.0)
  story.train(5.0, steps=50).killed_in('eval', 1.0, **story.where())
  return story.restart(second, after=60.0).set_up().span('data', 1.0).train(5.0, steps=50).eval(2.0, 0.95).finish()


def restarted_from_nothing(path=None):
  story = started(path=path).train(10.0).eval(2.0, 0.9).restart(after=60.0).set_up().span('data', 1.0)
  return story.train(10.0).eval(2.0, 0.95).finish()


def never_reached_run_start(path=None):
  story = Story(path=path).span('import', 1.0).killed_in('compile', 2.0).restart(after=60.0).set_up()
  return story.point('run_start', step=0).train(10.0).eval(2.0, 0.95).finish()


RESTARTED = (restarted, restarted_from_nothing, never_reached_run_start)


def parsed(text):
  return [json.loads(line.removeprefix(':::MLLOG ')) for line in text.splitlines() if line.startswith(':::MLLOG ')]


def values(text):
  return {line['key']: line['value'] for line in parsed(text)}


# -- the checker passes


def test_a_log_of_cifar10_passes_the_checker(tmp_path):
  passed, said = check(mlperf.text(record([{'accuracy': 0.93}, {'accuracy': 0.94}]).events), tmp_path)
  assert passed, said


def test_a_log_of_digits_passes_the_checker(tmp_path):
  passed, said = check(mlperf.text(record([{'accuracy': 0.9}, {'accuracy': 0.98}], **DIGITS).events), tmp_path)
  assert passed, said


def test_a_log_of_a_run_that_trained_on_after_the_hit_passes_the_checker(tmp_path):
  tape = record([{'accuracy': 0.94}, {'accuracy': 0.93}], stop_at_target=False)
  passed, said = check(mlperf.text(tape.events), tmp_path)
  assert passed, said


@pytest.mark.parametrize('tell', RESTARTED, ids=lambda tell: tell.__name__)
def test_a_log_of_a_restarted_run_passes_the_checker(tmp_path, tell):
  passed, said = check(mlperf.text(tell().events), tmp_path)
  assert passed, said


def test_a_log_of_resnet_passes_the_stock_ruleset(tmp_path):
  text = mlperf.text(record([{'accuracy': 0.7}, {'accuracy': 0.759}], **IMAGENET).events)
  assert values(text)['submission_benchmark'] == 'resnet'
  passed, said = checker(text, tmp_path)
  assert passed, said


@pytest.mark.parametrize('metrics, changes', [
    ([{'accuracy': 0.7589}], {}), ([{'accuracy': 0.76}], {'lars_epsilon': 1e-9}),
    ([{'accuracy': 0.76}], {'lars_opt_weight_decay': 3e-5}), ([{'accuracy': 0.76}], {'opt_name': 'adamw'})])
def test_the_stock_ruleset_fails_a_resnet_that_breaks_its_rules(tmp_path, metrics, changes):
  header = {**IMAGENET, 'hyperparameters': {**LARS, **changes}}
  assert not checker(mlperf.text(record(metrics, **header).events), tmp_path)[0]


# -- the checker fails


def drop(key, also=''):
  return lambda text: ''.join(line for line in text.splitlines(True)
                              if f'"key": "{key}"' not in line or also not in line)


def swap(old, new):
  def change(text):
    assert old in text
    return text.replace(old, new)
  return change


def within(key, old, new):
  return lambda text: ''.join(line.replace(old, new) if f'"key": "{key}"' in line else line
                              for line in text.splitlines(True))


def twice(key, old='', new=''):
  def change(text):
    line = next(line for line in text.splitlines(True) if f'"key": "{key}"' in line)
    return text.replace(line, line + line.replace(old, new), 1)
  return change


def exchange(one, other):
  def change(text):
    first, second = (next(line for line in text.splitlines(True) if f'"key": "{key}"' in line) for key in (one, other))
    return text.replace(first, '\0').replace(second, first).replace('\0', second)
  return change


def late(text):
  """The log with 30 minutes more before init_stop, and so after."""
  lines, later = [], False
  for line in text.splitlines(True):
    later = later or '"key": "init_stop"' in line
    if later:
      entry = json.loads(line.removeprefix(':::MLLOG '))
      line = ':::MLLOG ' + json.dumps({**entry, 'time_ms': entry['time_ms'] + 30 * 60 * 1000}) + '\n'
    lines.append(line)
  return ''.join(lines)


WRONG = {
    'below the target': swap('"value": 0.94,', '"value": 0.9399,'),
    'metric in percent': swap('"value": 0.94,', '"value": 94.0,'),
    'seed missing': drop('seed'),
    'batch size missing': drop('global_batch_size'),
    'optimizer missing': drop('opt_name'),
    'evaluated on fewer examples': swap('"eval_samples", "value": 10000', '"eval_samples", "value": 9999'),
    'aborted': swap('"status": "success"', '"status": "aborted"'),
    'no run_stop': drop('run_stop'),
    'two run_starts': twice('run_start'),
    'two run_stops': twice('run_stop'),
    'two seeds': twice('seed', '"value": 7', '"value": 8'),
    'block stops before it starts': exchange('block_start', 'block_stop'),
    'block never stops': drop('block_stop'),
    'block stops that did not start': drop('block_start', '"samples_count": 50000'),
    'evaluation inside a block': exchange('block_stop', 'eval_start'),
    'init_stop after run_start': exchange('init_stop', 'run_start'),
    'accuracy after the evaluation': exchange('eval_stop', 'eval_accuracy'),
    'block starts behind the last': within('block_start', '"samples_count": 50000', '"samples_count": 40000'),
    'samples run backwards': swap('"samples_count": 100000', '"samples_count": 40000'),
    'evaluation at other samples than trained': swap('"epoch_num": 2, "samples_count": 100000',
                                                     '"epoch_num": 2, "samples_count": 100001'),
    'unknown benchmark': swap('"value": "cifar10"', '"value": "cifar100"'),
    'unknown division': swap('"value": "closed"', '"value": "ajar"'),
    'nobody': swap('"value": "Daybreak"', '"value": ""'),
    'initialisation longer than 30 minutes': late,
    'not JSON': swap('"key": "seed"', '"key": "seed'),
    'empty': lambda text: '',
}


@pytest.mark.parametrize('wrong', WRONG)
def test_the_checker_fails_what_is_wrong(tmp_path, wrong):
  good = mlperf.text(record([{'accuracy': 0.93}, {'accuracy': 0.94}]).events)
  bad = WRONG[wrong](good)
  assert bad != good
  passed, said = check(bad, tmp_path)
  assert not passed and 'FAILED' in said


def test_four_hours_of_initialisation_pass_in_the_open_division_only(tmp_path):
  def passes(seconds, division):
    story = Story(division=division).set_up(1.0, 2.0, seconds - 3.0).point('run_start', step=0)
    return check(mlperf.text(story.train(10.0).eval(2.0, 0.95).finish().events), tmp_path)[0]

  assert passes(1799.0, 'closed') and passes(14399.0, 'open')
  assert not passes(1800.0, 'closed') and not passes(14400.0, 'open')


def test_a_tape_that_did_not_reach_the_target_has_a_log_that_fails(tmp_path):
  tape = record([{'accuracy': 0.93}])
  assert '"status": "aborted"' in mlperf.text(tape.events)
  assert not check(mlperf.text(tape.events), tmp_path)[0]


# -- what the log says


def test_the_first_line_says_that_it_is_not_an_official_result():
  for events in (Story().events, record([{'accuracy': 0.95}]).events, restarted().events):
    assert mlperf.text(events).splitlines()[0].startswith('# Not an official MLPerf result')
    assert mlperf.text(events).count('# Not an official') == 1


def test_hyperparameters_are_those_of_the_header_in_its_order():
  text = mlperf.text(record([{'accuracy': 0.76}], **IMAGENET).events)
  assert {key: values(text)[key] for key in LARS} == LARS
  assert [line['key'] for line in parsed(text) if line['key'] in LARS] == list(LARS)


def test_what_is_submitted_is_what_the_header_says():
  found = values(mlperf.text(Story(seed=11, **{k: DIGITS[k] for k in ('benchmark', 'batch_size')}).events))
  wanted = {'submission_benchmark': 'digits', 'submission_division': 'closed', 'submission_org': 'Daybreak',
            'submission_platform': '1xcpu', 'submission_status': 'onprem', 'cache_clear': False, 'seed': 11,
            'global_batch_size': 128, 'train_samples': 50000, 'eval_samples': 10000}
  assert {key: found[key] for key in wanted} == wanted


def test_times_files_and_lines_are_those_of_the_tape():
  events = record([{'accuracy': 0.95}]).events
  places = {(int(e['time'] * 1000), e['file'], e['line']) for e in events}
  assert {(x['time_ms'], x['metadata']['file'], x['metadata']['lineno']) for x in parsed(mlperf.text(events))} <= places


def test_training_between_evaluations_is_one_block_however_often_it_is_looked_at():
  story = started().train(1.0, steps=30).train(1.0, steps=30).train(1.0, steps=40).eval(1.0, 0.95).finish()
  lines = parsed(mlperf.text(story.events))
  blocks = [(line['key'], line['metadata']['samples_count']) for line in lines if 'block' in line['key']]
  assert blocks == [('block_start', 0), ('block_stop', 50000)]


def test_a_whole_epoch_is_an_integer_and_a_part_of_one_is_not():
  text = mlperf.text(started().train(1.0, steps=50).eval(1.0, 0.9).train(1.0, steps=50).eval(1.0, 0.95).events)
  epochs = [line['metadata']['epoch_num'] for line in parsed(text) if line['key'] == 'eval_accuracy']
  assert epochs == [0.5, 1] and isinstance(epochs[1], int)


@pytest.mark.parametrize('tell', RESTARTED, ids=lambda tell: tell.__name__)
def test_a_restarted_run_is_told_once(tell):
  keys = [line['key'] for line in parsed(mlperf.text(tell().events))]
  for key in ('submission_benchmark', 'seed', 'init_start', 'init_stop', 'run_start', 'run_stop'):
    assert keys.count(key) == 1, key
  assert all(keys.count(f'{name}_start') == keys.count(f'{name}_stop') for name in ('block', 'eval'))


def through_mllog(lines, path):
  """What MLCommons' own logger writes for the same entries."""
  mllog = pytest.importorskip('mlperf_logging.mllog.mllog')
  logger = logging.Logger('fixture')
  handler = logging.FileHandler(path, mode='w')
  logger.addHandler(handler)
  theirs = mllog.MLLogger(logger)
  methods = {'POINT_IN_TIME': theirs.event, 'INTERVAL_START': theirs.start, 'INTERVAL_END': theirs.end}
  for line in lines:
    methods[line['event_type']](line['key'], line['value'], line['metadata'], time_ms=line['time_ms'])
  handler.close()
  return [line for line in path.read_text().splitlines() if line.startswith(':::MLLOG ')]


@pytest.mark.parametrize('header', [{}, DIGITS, IMAGENET], ids=['cifar10', 'digits', 'imagenet'])
def test_lines_are_what_the_mllog_package_writes(tmp_path, header):
  text = mlperf.text(record([{'accuracy': 0.5}, {'accuracy': 0.99}], **header).events)
  assert through_mllog(parsed(text), tmp_path / 'theirs.txt') == text.splitlines()[1:]


# -- live


@pytest.mark.parametrize('tell', [lambda: record([{'accuracy': 0.5}, {'accuracy': 0.95}]), *RESTARTED],
                         ids=['one process', *(tell.__name__ for tell in RESTARTED)])
def test_the_live_log_is_the_later_log_at_every_event_and_over_restarts(tmp_path, tell):
  events, path = tell().events, tmp_path / 'result_0.txt'
  for number, event in enumerate(events, 1):
    if event['event'] == 'process':
      live = mlperf.LiveLog(path, events[:number])
    else:
      live(event)
    assert path.read_text() == mlperf.text(events[:number])


def test_a_live_log_opened_at_any_event_catches_up(tmp_path):
  events, path = restarted().events, tmp_path / 'result_0.txt'
  last = max(n for n, e in enumerate(events) if e['event'] == 'process')
  for number in range(last + 1, len(events) + 1):
    live = mlperf.LiveLog(path, events[:number])
    for event in events[number:]:
      live(event)
    assert path.read_text() == mlperf.text(events)


def test_the_live_log_as_a_sink_of_a_tape_is_the_later_log(tmp_path):
  live = []
  tape = record([{'accuracy': 0.5}, {'accuracy': 0.95}], path=tmp_path / 'tape.jsonl',
                sinks=[lambda event: live or live.append(mlperf.LiveLog(tmp_path / 'result_0.txt', [])),
                       lambda event: live[0](event)])
  assert (tmp_path / 'result_0.txt').read_text() == mlperf.text(tape.events)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_is_a_problem():
  with pytest.raises(Problem, match='No space left on device'):
    mlperf.LiveLog('/dev/full', Story().events)


def test_a_folder_that_is_missing_is_a_problem(tmp_path):
  with pytest.raises(Problem, match='cannot write the log'):
    mlperf.LiveLog(tmp_path / 'missing' / 'result_0.txt', [])


def test_fixtures_say_that_they_are_fixtures():
  assert HEADER['fixture'] and all(e['fixture'] for e in restarted().events if e['event'] == 'process')
