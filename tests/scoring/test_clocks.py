"""Clocks: properties over random tapes under simulated time, in which all arithmetic is exact, and examples by hand."""
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring import clocks
from scoring import tape as tapes
from scoring.clocks import CLOCKS, DAWNBENCH, DAWNBENCH_WITHOUT_COMPILE, MLPERF, WARM, seconds
from scoring.problem import Problem
from tests.tapes import Story

START = float(2 ** 30)  # times are multiples of 1/64 s after it, which doubles hold exactly
quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)
short = st.integers(0, 64 * 64).map(lambda n: n / 64)
positive = st.integers(1, 64 * 64).map(lambda n: n / 64)
work = st.one_of(
    st.tuples(st.just('train'), positive, st.sampled_from([0.0, 0.25, 1.0])),
    st.tuples(st.just('eval'), positive, st.sampled_from([0.1, 0.93, 0.94, 0.95])),
    st.tuples(st.just('checkpoint'), positive),
    st.tuples(st.sampled_from(['data', 'log', 'gap']), positive))
kills = st.lists(st.tuples(st.integers(0, 25), st.floats(0, 1), short, st.integers(0, 5)), max_size=3)
plans = st.fixed_dictionaries({
    'set_up': st.lists(st.integers(0, 64 * 3000).map(lambda n: n / 64), min_size=4, max_size=4),
    'fresh': st.lists(st.tuples(st.sampled_from(['data', 'data_init']), positive), max_size=2),
    'work': st.lists(work, min_size=1, max_size=15), 'kills': kills,
    'division': st.sampled_from(['closed', 'open'])})


class Interpreter:
  """Performs a plan, killing it as the plan says; a process that is killed resumes and does again what it lost."""

  def __init__(self, plan, number_of_kills):
    self.plan, self.saved = plan, []
    self.story = Story(start=START, division=plan['division'])
    position = 0
    for kill in plan['kills'][:number_of_kills]:
      position = self.process(position, kill)
    self.process(position, None)
    self.events = self.story.finish().events

  def process(self, position, kill):
    """One process, from `position` of the work; where the next one begins."""
    names = ['import', 'init', 'gap', 'compile']
    actions = [*zip(names, self.plan['set_up']), ('run_start',), *(self.plan['fresh'] if not position else ()),
               *self.plan['work'][position:]]
    before = len(actions) - len(self.plan['work'][position:])
    stop, part, after, choice = kill or (len(actions), 0.0, 0.0, 0)
    for number, action in enumerate(actions[:stop]):
      self.perform(action, position + number - before + 1)
    if kill is None:
      return None
    if stop < len(actions) and len(actions[stop]) > 1 and actions[stop][0] != 'gap' and part:
      self.story.killed_in(actions[stop][0], int(part * actions[stop][1] * 64) / 64)
    saved = ([None] + self.saved)[-1 - choice % (len(self.saved) + 1)]
    self.saved = [s for s in self.saved if saved and s[0]['line'] <= saved[0]['line']]
    self.story.restart(saved and saved[0], after)
    return saved[1] if saved else 0

  def perform(self, action, position):
    story, (name, *values) = self.story, action
    if name == 'run_start':
      if not any(e['event'] == 'run_start' for e in story.events):
        story.point('run_start', step=0)
    elif name == 'gap':
      story.gap(values[0])
    elif name == 'train':
      story.train(values[0], data_seconds=int(values[0] * values[1] * 64) / 64)
    elif name == 'eval':
      story.eval(*values)
    elif name == 'checkpoint':
      self.saved.append((story.checkpoint(values[0]), position))
    else:
      story.span(name, values[0])


def perform(plan, number_of_kills=None):
  return Interpreter(plan, len(plan['kills']) if number_of_kills is None else number_of_kills).events


def shifted(events, by):
  return [{**e, 'time': e['time'] + by} for e in events]


def insert(events, index, name, duration, part):
  """The tape with a span before event `index`, `part` of the way from the event before it; all later is later."""
  at = events[index - 1]['time']
  if index < len(events):
    at += int((events[index]['time'] - at) * part * 64) / 64
  fields = {'step': 1, 'epoch': 1.0, 'samples': 1, 'file': 'x.py', 'line': 1}
  ends = [{'event': name, 'time': at, 'edge': 'start', **fields},
          {'event': name, 'time': at + duration, 'edge': 'stop', 'metrics': {'accuracy': 0.5}, 'num_evaluated': 1,
           **fields}]
  later = []
  for event in shifted(events[index:], duration):
    resumed = event.get('resumed')
    if resumed and resumed['line'] > index:
      event = {**event, 'resumed': {**resumed, 'line': resumed['line'] + 2}}
    later.append(event)
  return events[:index] + ends + later


def between_spans(events):
  """The places where a span can be inserted: not before the first event, nor inside a span."""
  places, inside = [], False
  for index, event in enumerate(events, 1):
    inside = event['edge'] == 'start' if 'edge' in event else inside and event['event'] != 'process'
    if not inside:
      places.append(index)
  return places


def both(events):
  return {(c.name, until): seconds(events, c, until) for c in CLOCKS for until in ('target_reached', 'end')}


@quick
@given(plans)
def test_spans_partition_the_time_of_all_processes(plan):
  events = perform(plan)
  spans = tapes.spans(events)
  edges = [events[0]['time'], *(s.stop for s in spans)]
  assert [s.start for s in spans] == edges[:-1] and edges[-1] == events[-1]['time']
  assert all(s.seconds > 0 for s in spans)
  wall = events[-1]['time'] - events[0]['time']
  assert sum(s.seconds for s in spans) == sum(clocks.seconds_by_span(events).values()) == wall
  assert sum(clocks.goodput(events).values()) == pytest.approx(1.0 if wall else 0.0)


@quick
@given(plans, st.data())
def test_one_more_evaluation_or_checkpoint_never_changes_dawnbench(plan, data):
  events = perform(plan)
  index = data.draw(st.sampled_from(between_spans(events)))
  name, duration = data.draw(st.sampled_from(['eval', 'checkpoint'])), data.draw(positive)
  more = insert(events, index, name, duration, data.draw(st.floats(0, 1)))
  for clock, until in itertools.product((DAWNBENCH, DAWNBENCH_WITHOUT_COMPILE), ('target_reached', 'end')):
    assert seconds(more, clock, until) == seconds(events, clock, until)


@quick
@given(plans)
def test_a_restart_never_shortens_a_clock(plan):
  chain = [perform(plan, number) for number in range(len(plan['kills']) + 1)]
  for fewer, more in itertools.pairwise(chain):
    assert (clocks.reached(fewer) is None) == (clocks.reached(more) is None)
    for clock, until in itertools.product(CLOCKS, ('target_reached', 'end')):
      before, after = seconds(fewer, clock, until), seconds(more, clock, until)
      assert before is after is None or after >= before, clock.name


@quick
@given(plans)
def test_a_restart_does_not_change_what_the_run_did(plan):
  whole, killed = perform(plan, 0), perform(plan)
  told = lambda events: [(e['step'], e['metrics']) for e in clocks.evaluations(events)]
  assert told(whole) == told(killed)


@quick
@given(plans)
def test_clocks_are_ordered(plan):
  events = perform(plan)
  excess = events[0]['time'] + clocks.UNTIMED_INIT_SECONDS[plan['division']]
  start = next(e['time'] for e in events if e['event'] == 'run_start')
  for until in ('target_reached', 'end'):
    wall = None if seconds(events, MLPERF, until) is None else (
        clocks.reached(events) if until == 'target_reached' else events[-1])['time'] - events[0]['time']
    without, dawnbench, mlperf, warm = (seconds(events, c, until) for c in
                                        (DAWNBENCH_WITHOUT_COMPILE, DAWNBENCH, MLPERF, WARM))
    if wall is not None:
      assert 0 <= without <= dawnbench <= wall
      assert 0 <= warm <= mlperf - max(0.0, start - excess) <= wall


@quick
@given(plans, st.integers(-2 ** 20, 2 ** 20).map(lambda n: n / 64))
def test_when_a_run_began_changes_no_clock(plan, by):
  events = perform(plan)
  assert both(shifted(events, by)) == both(events)


@quick
@given(plans)
def test_seconds_at_an_evaluation_never_decrease(plan):
  events = perform(plan)
  for clock in (DAWNBENCH, DAWNBENCH_WITHOUT_COMPILE, MLPERF):
    found = [clocks.seconds_at(events, clock, e['time']) for e in clocks.evaluations(events)]
    assert found == sorted(found)


# -- by hand


def started(**header):
  """1 s import, 2 s init, 3 s compile, run_start, 4 s data."""
  return Story(**header).set_up(1.0, 2.0, 3.0).point('run_start', step=0).span('data', 4.0)


def plain():
  """6 s before run_start, then 4 s data, 5 s data_init, 0.5 s log, 10 + 20 s training, evaluations of 4 and 3 s."""
  story = started().span('data_init', 5.0).span('log', 0.5).train(10.0).eval(4.0, 0.5)
  story.checkpoint(1.0)
  return story.train(20.0, data_seconds=2.5).gap(0.25).eval(3.0, 0.94)


HAND = {'dawnbench': 45.75, 'dawnbench_without_compile': 42.75, 'mlperf': 47.75, 'warm': 35.5}


@pytest.mark.parametrize('clock', CLOCKS, ids=lambda clock: clock.name)
def test_each_clock_by_hand(clock):
  assert seconds(plain().events, clock) == HAND[clock.name]


@pytest.mark.parametrize('clock', CLOCKS, ids=lambda clock: clock.name)
def test_what_follows_the_hit_is_not_on_the_clock(clock):
  story = plain().train(100.0).eval(7.0, 0.96)
  story.checkpoint(50.0)
  assert seconds(story.finish().events, clock) == HAND[clock.name]


def test_until_the_end_counts_all_that_followed_and_for_warm_the_last_evaluation():
  events = plain().train(100.0).gap(1.0).finish().events
  assert {c.name: seconds(events, c, 'end') for c in CLOCKS} == {
      'dawnbench': 146.75, 'dawnbench_without_compile': 143.75, 'mlperf': 148.75, 'warm': 135.5}


def test_clocks_over_a_restart_by_hand():
  story = started().train(10.0)
  saved = story.checkpoint(1.0)
  story.train(8.0).eval(2.0, 0.95).restart(saved, after=30.0).set_up(1.0, 2.0, 3.0).span('data', 4.0)
  events = story.train(8.0).eval(2.0, 0.95).events
  assert {c.name: seconds(events, c) for c in CLOCKS} == {
      'dawnbench': 6 + 4 + 10 + 8 + 30 + 6 + 4 + 8, 'dawnbench_without_compile': 3 + 4 + 10 + 8 + 30 + 3 + 4 + 8,
      'mlperf': 4 + 10 + 1 + 8 + 2 + 30 + 6 + 4 + 8 + 2, 'warm': 10 + 8 + 2}


def test_clocks_over_a_restart_from_nothing_by_hand():
  events = started().train(10.0).restart(after=5.0).set_up(1.0, 2.0, 3.0).train(10.0).eval(2.0, 0.95).events
  assert {c.name: seconds(events, c) for c in CLOCKS} == {
      'dawnbench': 6 + 4 + 10 + 5 + 6 + 10, 'dawnbench_without_compile': 3 + 4 + 10 + 5 + 3 + 10,
      'mlperf': 4 + 10 + 5 + 6 + 10 + 2, 'warm': 10 + 2}


def test_the_first_start_of_mlperf_clock_holds_over_a_restart_before_it():
  story = Story().span('import', 3.0).restart(after=1.0).set_up().point('run_start', step=0).train(4.0).eval(1.0, 0.95)
  assert seconds(story.events, MLPERF) == 5.0


@pytest.mark.parametrize('division, limit', [('closed', 1800.0), ('open', 14400.0)])
@pytest.mark.parametrize('excess', [-1.0, 0.0, 1.0, 3600.0])
def test_initialisation_beyond_the_limit_is_on_mlperf_clock(division, limit, excess):
  story = Story(division=division).set_up(1.0, 2.0, limit + excess - 3.0).point('run_start', step=0)
  assert seconds(story.train(10.0).eval(2.0, 0.95).events, MLPERF) == 12.0 + max(0.0, excess)


def test_lost_time_before_run_start_is_initialisation():
  story = Story().span('import', 1.0).restart(after=1799.0).span('import', 60.0).point('run_start', step=0)
  assert seconds(story.train(10.0).eval(2.0, 0.95).events, MLPERF) == 12.0 + 60.0


def test_below_the_target_there_is_no_time_to_it():
  events = started().train(10.0).eval(2.0, 0.9399999).finish('aborted').events
  assert clocks.reached(events) is None
  assert [seconds(events, c) for c in CLOCKS] == [None] * 4
  assert seconds(events, DAWNBENCH, 'end') == 20.0


def test_a_run_without_evaluation_has_no_time_to_target():
  assert [seconds(started().events, c) for c in CLOCKS] == [None] * 4


def test_mlperf_clock_has_not_started_before_run_start():
  events = Story().set_up().events
  assert seconds(events, MLPERF, 'end') is None and seconds(events, DAWNBENCH, 'end') == 6.0
  assert clocks.seconds_at(plain().events, MLPERF, plain().events[0]['time'] + 5.0) is None


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_a_metric_that_is_not_finite_does_not_reach_the_target(value):
  events = started().train(10.0).eval(2.0, 0.5).train(10.0).eval(2.0, 0.95).events
  broken = [{**e, 'metrics': {'accuracy': value}} if e['event'] == 'eval' and e.get('step') == 100 else e
            for e in events]
  assert clocks.reached(broken)['step'] == 200


def test_the_first_hit_counts_not_the_last_nor_the_best():
  events = started().train(1.0).eval(1.0, 0.94).train(1.0).eval(1.0, 0.5).train(1.0).eval(1.0, 0.99).events
  assert clocks.reached(events)['step'] == 100 and seconds(events, WARM) == 2.0


def test_a_superseded_hit_does_not_count():
  story = started().train(10.0)
  saved = story.checkpoint(1.0)
  story.eval(2.0, 0.95).restart(saved, after=1.0)
  assert clocks.reached(story.events) is None and clocks.evaluations(story.events) == []
  story.eval(2.0, 0.93).train(10.0).eval(2.0, 0.96)
  assert clocks.reached(story.events)['step'] == 200


def test_a_hit_before_the_checkpoint_outlives_a_restart_and_keeps_its_time():
  story = started().train(10.0).eval(2.0, 0.95)
  before = both(story.events)
  saved = story.checkpoint(1.0)
  story.train(5.0).restart(saved, after=100.0).train(5.0)
  after = both(story.events)
  assert all(after[key] == before[key] for key in before if key[1] == 'target_reached')


@pytest.mark.parametrize('until', ['target', '', None, 'End', 7])
def test_an_unknown_until_is_a_problem_that_names_the_known_ones(until):
  with pytest.raises(Problem, match="'target_reached' or at 'end'"):
    seconds(plain().events, DAWNBENCH, until)


def test_goodput_is_the_share_of_training():
  found = clocks.goodput(started().train(10.0).events)
  assert found == {'import': 0.05, 'init': 0.1, 'compile': 0.15, 'data': 0.2, 'train': 0.5}


def test_goodput_of_a_tape_without_time_is_empty():
  assert clocks.goodput(Story().events) == clocks.seconds_by_span(Story().events) == {}
