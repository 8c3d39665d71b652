"""The tape: what a crash leaves is a valid tape, and its spans partition the time of every process."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scoring import tape as tapes
from scoring.problem import Problem
from scoring.tape import Tape, WallClock
from tests.tapes import HEADER, Simulated, Story, closing_files, record


@pytest.fixture(autouse=True)
def opened(monkeypatch):
  with closing_files(monkeypatch) as files:
    yield files


def told(story, names=None):
  """(name, seconds, was) of each span, in order."""
  return [(s.name, s.seconds, s.was) for s in tapes.spans(story.events) if names is None or s.name in names]


def totals(story):
  found = {}
  for name, seconds, _ in told(story):
    found[name] = found.get(name, 0.0) + seconds
  return found


def names(events):
  return [e['event'] for e in events if e.get('edge') != 'stop']


def started(**header):
  """A story that stands where training begins: 6 s of setting up, 1 s of data."""
  return Story(**header).set_up().point('run_start', step=0).span('data', 1.0)


# -- writing


def test_spans_never_nest():
  tape = Tape(now=Simulated())
  with tape.span('train'), pytest.raises(AssertionError, match='eval inside span train'):
    with tape.span('eval'):
      pass


def test_a_span_that_raises_has_no_stop_and_the_next_one_may_open():
  tape = Tape(now=Simulated())
  tape.event('process', **HEADER)
  with pytest.raises(KeyError), tape.span('train'):
    raise KeyError
  with tape.span('log'):
    pass
  assert [(e['event'], e.get('edge')) for e in tape.events[1:]] == [
      ('train', 'start'), ('log', 'start'), ('log', 'stop')]


def test_events_name_the_line_that_recorded_them():
  tape = Tape(now=Simulated())
  first = tape.event('process', **HEADER)
  with tape.span('train'):
    pass
  here = os.path.relpath(__file__, tapes.ROOT)
  assert {e['file'] for e in tape.events} == {here}
  assert [e['line'] - first['line'] for e in tape.events[:2]] == [0, 1]


def test_nan_is_refused_before_it_is_on_the_tape(tmp_path):
  tape = Tape(tmp_path / 'tape.jsonl', now=Simulated())
  tape.event('process', **HEADER)
  with pytest.raises(ValueError):
    tape.event('eval', metrics={'accuracy': float('nan')})
  assert tapes.read(tmp_path) == tape.events and len(tape.events) == 1


def test_the_file_is_the_text_at_every_event(tmp_path):
  path = tmp_path / 'tape.jsonl'
  sizes = []
  tape = record([{'accuracy': 0.9}], path=path, sinks=[lambda event: sizes.append(len(path.read_bytes()))])
  assert path.read_text() == tape.text() and tapes.read(path) == tapes.read(tmp_path) == tape.events
  assert sizes


def test_text_survives_restarts(tmp_path):
  path = tmp_path / 'tape.jsonl'
  story = Story(path).set_up().train(1.0)
  before = story.tape.text()
  story.restart().set_up()
  assert story.tape.text().startswith(before) and path.read_text() == story.tape.text()
  assert Tape(path, text='ignored where the file holds a tape').events == story.events


def test_a_missing_file_begins_with_the_text_of_the_checkpoint(tmp_path):
  saved = record([{'accuracy': 0.9}]).text()
  tape = Tape(tmp_path / 'tape.jsonl', text=saved)
  assert tape.text() == saved == (tmp_path / 'tape.jsonl').read_text()
  tape.event('process', **HEADER)
  assert len(tapes.read(tmp_path)) == len(saved.splitlines()) + 1


# -- what a crash leaves


def test_a_line_torn_at_any_byte_is_dropped_and_the_file_goes_on(tmp_path):
  path = tmp_path / 'tape.jsonl'
  tape = record([{'accuracy': 0.9}])
  kept = tape.text()[:-len(tape.text().splitlines(keepends=True)[-1])].encode()
  whole = tape.text().encode()
  for size in range(len(kept), len(whole)):
    path.write_bytes(whole[:size])
    assert tapes.read(path) == tape.events[:-1]
    again = Tape(path, now=Simulated(1_790_000_100.0))
    assert again.events == tape.events[:-1] and path.read_bytes() == kept
    again.event('process', **HEADER)
    assert tapes.read(path) == again.events and len(again.events) == len(tape.events)


@pytest.mark.parametrize('tail', [b'\x00' * 64, b'\xff\xfe\x80', b'{"event": "x\xc3'])
def test_a_torn_tail_may_be_any_bytes(tmp_path, tail):
  path = tmp_path / 'tape.jsonl'
  tape = record([{'accuracy': 0.9}], path=path)
  whole = path.read_bytes()
  path.write_bytes(whole + tail)
  assert tapes.read(path) == Tape(path).events == tape.events
  assert path.read_bytes() == whole


def test_a_torn_header_leaves_an_empty_tape(tmp_path):
  path = tmp_path / 'tape.jsonl'
  path.write_text('{"event": "process", "ti')
  assert Tape(path).events == tapes.read(path) == [] and path.read_bytes() == b''


@pytest.mark.parametrize('broken', ['', '{', '[]', '7', 'null', '{"event": "x"}', '{"time": 1.0}',
                                    '{"event": 1, "time": 1.0}', '{"event": "x", "time": "1.0"}',
                                    '{"event": "x", "time": null}', '{"event": "x", "time": NaN}',
                                    '{"event": "x", "time": 1e999}', '{"event": "x", "time": 1' + '0' * 400 + '}',
                                    '{"event": "x", "time": 1.0, "metrics": {"accuracy": Infinity}}'])
def test_a_broken_middle_line_is_a_problem_that_names_file_and_line(tmp_path, broken):
  path = tmp_path / 'tape.jsonl'
  lines = record([{'accuracy': 0.9}]).text().splitlines()
  lines[4] = broken
  path.write_text('\n'.join(lines) + '\n')
  for opener in (tapes.read, Tape):
    with pytest.raises(Problem) as raised:
      opener(path)
    assert f'{path}, line 5' in str(raised.value)


def test_a_tape_that_begins_without_a_process_is_a_problem(tmp_path):
  (tmp_path / 'tape.jsonl').write_text('{"event": "train", "time": 1.0}\n')
  with pytest.raises(Problem, match='line 1: a tape begins with a process'):
    tapes.read(tmp_path)


def test_a_missing_tape_is_a_problem_that_names_it(tmp_path):
  with pytest.raises(Problem, match='nothing'):
    tapes.read(tmp_path / 'nothing')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_is_a_problem_when_it_is_written_to(tmp_path, opened):
  tape = Tape(tmp_path / 'tape.jsonl', now=Simulated())
  tape.event('process', **HEADER)
  with open('/dev/full', 'wb') as full:
    os.dup2(full.fileno(), opened[0].fileno())
  with pytest.raises(Problem, match='No space left on device.*free space, then run the same command again$'):
    tape.event('run_start', step=0)
  assert tapes.read(tmp_path) == tape.events and len(tape.events) == 1


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
@pytest.mark.parametrize('opener', [Tape, tapes.read])
def test_a_device_in_place_of_the_file_is_a_problem(tmp_path, opener):
  (tmp_path / 'tape.jsonl').symlink_to('/dev/full')
  with pytest.raises(Problem, match=r'tape\.jsonl: cannot'):
    opener(tmp_path / 'tape.jsonl')


def test_a_path_that_cannot_be_written_is_a_problem(tmp_path):
  for path in (tmp_path, tmp_path / 'missing' / 'tape.jsonl'):
    with pytest.raises(Problem, match='cannot write the tape'):
      Tape(path)


# -- time


def test_time_never_runs_backwards_over_a_restart_though_the_wall_clock_does(tmp_path):
  first = Tape(tmp_path / 'tape.jsonl')
  first.event('process', **HEADER)
  behind = WallClock()
  behind.offset -= 3600.0
  assert behind() < first.events[0]['time']
  second = Tape(tmp_path / 'tape.jsonl', now=behind)
  second.event('process', **HEADER)
  with second.span('train'):
    pass
  times = [e['time'] for e in second.events]
  assert times == sorted(times) and times[-1] - times[0] < 3000


def test_a_clock_that_is_ahead_is_not_set_back():
  clock = WallClock()
  ahead = clock() + 3600.0
  clock.not_before(ahead)
  clock.not_before(ahead - 1800.0)
  assert clock() >= ahead


def test_the_start_of_the_process_is_when_the_system_started_it():
  program = 'from scoring.tape import process_start_seconds as start; print(repr(start()), repr(start()))'
  before = time.time()
  child = subprocess.Popen([sys.executable, '-c', program], cwd=tapes.ROOT, stdout=subprocess.PIPE, text=True)
  forked = time.time()
  first, second = map(float, child.communicate()[0].split())
  assert before - 0.1 <= first <= forked + 0.1 and abs(first - second) < 0.1


# -- delivery


def test_deliver_hands_each_event_once_to_each_sink_in_order_inside_a_log_span():
  tape, one, two, inside = Tape(now=Simulated()), [], [], []
  tape.event('process', **HEADER)
  tape.attach(one.append, two.append, lambda event: inside.append(tape.events[-1]))
  for _ in range(3):
    with tape.span('train'):
      pass
    tape.deliver()
    tape.deliver()
  wanted = [e for e in tape.events[1:] if e['event'] == 'train']
  assert one == two == wanted and len(one) == 6
  assert {(e['event'], e['edge']) for e in inside} == {('log', 'start')}
  assert names(tape.events) == ['process'] + ['train', 'log'] * 3


def test_without_sinks_or_news_deliver_writes_nothing():
  tape = Tape(now=Simulated())
  tape.event('process', **HEADER)
  tape.deliver()
  tape.attach(lambda event: None)
  tape.deliver()
  assert len(tape.events) == 1


def test_delivery_is_on_the_clock():
  story = Story()
  story.tape.attach(lambda event: story.gap(0.25))
  story.train(4.0).tape.deliver()
  assert totals(story) == {'train': 4.0, 'log': 0.5}


# -- effective and spans, by hand


def test_one_process_is_all_effective_and_its_spans_are_what_was_told():
  story = started().train(10.0).eval(2.0, 0.95).finish()
  assert tapes.effective(story.events) == story.events
  assert told(story) == [('import', 1, None), ('init', 2, None), ('compile', 3, None), ('data', 1, None),
                         ('train', 10, None), ('eval', 2, None)]


def test_time_in_no_span_is_unattributed():
  story = Story().gap(0.5).span('init', 2.0).gap(1.5).train(4.0).gap(0.25).point('exit', status='complete')
  assert told(story) == [('unattributed', 0.5, None), ('init', 2.0, None), ('unattributed', 1.5, None),
                         ('train', 4.0, None), ('unattributed', 0.25, None)]


def test_waiting_for_input_is_carved_out_of_training():
  story = Story().train(10.0, data_seconds=2.5)
  assert told(story) == [('train', 7.5, None), ('data', 2.5, None)]


def test_no_more_is_carved_out_than_there_is():
  assert told(Story().train(1.0, data_seconds=1.5)) == [('data', 1.0, None)]


def test_a_checkpoint_in_the_middle_keeps_what_was_before_it():
  story = started().train(10.0)
  saved = story.checkpoint(1.0)
  story.train(7.0).restart(saved, after=20.0).set_up(1.5, 2.5, 0.5).train(7.0).eval(2.0, 0.95)
  assert told(story) == [
      ('import', 1, None), ('init', 2, None), ('compile', 3, None), ('data', 1, None), ('train', 10, None),
      ('checkpoint', 1, None), ('lost', 7, 'train'), ('lost', 20, None),
      ('import', 1.5, None), ('init', 2.5, None), ('compile', 0.5, None), ('train', 7, None), ('eval', 2, None)]
  assert names(tapes.effective(story.events)) == [
      'process', 'import', 'init', 'compile', 'run_start', 'data', 'train', 'checkpoint',
      'process', 'import', 'init', 'compile', 'train', 'eval']


def test_without_a_checkpoint_all_is_lost_but_the_start_of_the_clock():
  story = started().train(10.0).restart(after=5.0).set_up().train(10.0)
  assert told(story, {'lost'}) == [('lost', 1, 'import'), ('lost', 2, 'init'), ('lost', 3, 'compile'),
                                   ('lost', 1, 'data'), ('lost', 10, 'train'), ('lost', 5, None)]
  assert totals(story) == {'lost': 22, 'import': 1, 'init': 2, 'compile': 3, 'train': 10}
  assert names(tapes.effective(story.events)) == ['process', 'run_start', 'process', 'import', 'init', 'compile',
                                                  'train']


def test_two_restarts_lose_each_its_own_stretch():
  story = started().train(10.0)
  first = story.checkpoint(1.0)
  story.train(4.0).restart(first, after=3.0).set_up().train(6.0)
  second = story.checkpoint(0.5)
  story.train(2.0).restart(second, after=8.0).set_up().train(2.0)
  assert told(story, {'lost'}) == [('lost', 4, 'train'), ('lost', 3, None), ('lost', 2, 'train'), ('lost', 8, None)]
  assert totals(story) == {'import': 3, 'init': 6, 'compile': 9, 'data': 1, 'train': 18, 'checkpoint': 1.5, 'lost': 17}
  trained = [e['step'] for e in tapes.effective(story.events) if e['event'] == 'train' and e['edge'] == 'stop']
  assert trained == [100, 200, 300]


def test_a_restart_from_an_older_checkpoint_loses_the_newer_one_and_the_process_between():
  story = started().train(10.0)
  older = story.checkpoint(1.0)
  story.train(4.0)
  newer = story.checkpoint(0.5)
  story.restart(newer, after=3.0).set_up().train(6.0).restart(older, after=2.0).set_up().train(4.0)
  assert told(story, {'lost'}) == [
      ('lost', 4, 'train'), ('lost', 0.5, 'checkpoint'), ('lost', 3, None), ('lost', 1, 'import'), ('lost', 2, 'init'),
      ('lost', 3, 'compile'), ('lost', 6, 'train'), ('lost', 2, None)]
  assert names(tapes.effective(story.events)) == [
      'process', 'import', 'init', 'compile', 'run_start', 'data', 'train', 'checkpoint', 'process',
      'process', 'import', 'init', 'compile', 'train']


def test_a_kill_inside_a_span_loses_it_to_the_next_process():
  story = started().train(10.0)
  saved = story.checkpoint(1.0)
  story.gap(0.5).killed_in('eval', 1.5, **story.where()).restart(saved, after=30.0).set_up().eval(2.0, 0.95)
  assert told(story, {'lost', 'eval', 'unattributed'}) == [('lost', 0.5, 'unattributed'), ('lost', 31.5, None),
                                                           ('eval', 2, None)]


def test_a_kill_inside_the_checkpoint_that_is_restored_loses_the_rest_of_it():
  story = started().train(10.0)
  story.tape.event('checkpoint', edge='start', step=100)
  saved = {'step': 100, 'line': len(story.events)}
  story.gap(0.75).restart(saved, after=4.0).set_up().eval(2.0, 0.95)
  assert told(story, {'lost', 'checkpoint', 'eval'}) == [('lost', 4.75, None), ('eval', 2, None)]


def test_a_clean_preemption_loses_only_the_time_between_processes():
  story = started().train(10.0)
  saved = story.checkpoint(1.0)
  story.point('exit', status='preempted').restart(saved, after=60.0).set_up().train(5.0).eval(2.0, 0.95)
  assert told(story, {'lost'}) == [('lost', 60, None)]
  assert 'exit' not in names(tapes.effective(story.events))


@pytest.mark.parametrize('gap', [0.0, 0.015625, 1.0, 86400.0])
def test_downtime_is_lost_to_the_second(gap):
  story = started().train(10.0)
  saved = story.checkpoint(1.0)
  story.restart(saved, after=gap).train(1.0)
  assert totals(story).get('lost', 0.0) == gap


def test_a_tape_of_one_line_has_no_spans():
  assert tapes.spans(Story().events) == []


def test_every_example_tape_round_trips_through_its_text():
  story = started().train(10.0)
  saved = story.checkpoint(1.0)
  story.restart(saved, after=1.0).set_up().eval(2.0, 0.95).finish()
  assert tapes.parse(story.tape.text()) == story.events == [json.loads(x) for x in story.tape.text().splitlines()]
  assert not Path(story.events[0]['file']).is_absolute()
