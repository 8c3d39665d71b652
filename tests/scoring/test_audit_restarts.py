"""A restart goes on from where the tape had come, and a run ends where its schedule does."""
from pathlib import Path

import pytest

from scoring import audit, audit_set, clocks, ledger
from scoring import tape as tapes
from tests import made_sets
from tests.tapes import HEADER, Story, record

SCHEDULE = {**HEADER['hyperparameters'], 'opt_learning_rate_training_steps': 300}


def restarted(story=None):
  story = story or Story(hyperparameters=SCHEDULE)
  story.set_up().point('run_start', step=0).span('data', 1.0)
  story.train(10.0).eval(1.0, 0.5)
  first = story.checkpoint(0.5)
  story.train(10.0).eval(1.0, 0.6).checkpoint(0.5)
  story.killed_in('train', 5.0, **story.where())
  story.restart(first).set_up().span('data', 1.0).train(10.0).eval(1.0, 0.61)
  second = story.checkpoint(0.5)
  story.killed_in('train', 1.0, **story.where())
  story.restart(second).set_up().span('data', 1.0).train(10.0).eval(1.0, 0.95)
  return story.finish().events


def resumed(lines):
  return [line for line in lines if 'resumed' in line]


def test_restarts_from_their_checkpoints_have_no_finding():
  assert audit.findings(restarted()) == []


@pytest.mark.parametrize('number, change', [
    (1, {'step': 200}), (1, {'step': 50}), (1, {'step': 0}), (1, {'line': 3}), (2, {'step': 10**9}),
    (2, {'step': 100})])
def test_a_step_that_the_tape_had_not_reached_is_no_place_to_go_on_from(number, change):
  events = restarted()
  process = [e for e in events if e['event'] == 'process'][number]
  process['resumed'] = {**process['resumed'], **change}
  lines = resumed(audit.findings(events))
  assert any('but the training on the tape up to line' in line for line in lines), lines


def test_steps_that_a_restart_took_back_are_not_reached():
  events = restarted()
  starts = [n for n, e in enumerate(events) if e['event'] == 'process']
  events[starts[2]]['resumed'] = {'step': 200, 'line': starts[1]}  # before the first restart, which took it back
  assert resumed(audit.findings(events))


def test_a_run_that_began_again_is_held_against_its_last_line_in_the_ledger(tmp_path):
  folder = made_sets.make(tmp_path / 'set', made_sets.CIFAR10, [0.9411, 0.9402], stop_after=1)
  entries = ledger.read(folder)
  runs = {path.name: audit_set.told(events := tapes.read(path), clocks.reached(events) is not None)
          for path in audit_set.runs_of(folder)}
  assert audit_set.together(entries, runs) == []
  begin = entries[2]
  failed = [{**begin, 'time': begin['time'] - 2},
            {**begin, 'time': begin['time'] - 1, 'event': 'end', 'exit_status': 137}]
  ended = [*entries[:2], *failed, *entries[2:]]

  def said(entries, runs):
    return [line for line in audit_set.together(entries, runs) if 'exit status' in line or 'empty' in line]
  assert said(ended, runs) == [] == said(ended[:-1], runs), 'its process has not come back yet'
  assert said([*entries[:3], {**entries[3], 'exit_status': 137}], runs)
  assert said(entries[:3], {**runs, 'run_001': []}) == [], 'its data are being loaded'
  assert said(entries, {**runs, 'run_001': []})


def test_a_broken_ledger_is_named_from_wherever_it_is_reviewed(tmp_path, monkeypatch):
  (tmp_path / 'ledger.jsonl').write_text('no ledger\n')
  monkeypatch.chdir(tmp_path)
  for folder in (tmp_path, Path('.')):
    assert audit_set.findings(folder)[0].startswith('ledger.jsonl: a line of the ledger is broken')


def test_a_run_without_its_target_ends_with_its_schedule():
  values = [{'accuracy': value} for value in (0.5, 0.6, 0.7)]
  assert audit.findings(record(values, hyperparameters=SCHEDULE).events) == []
  lines = audit.findings(record(values[:2], hyperparameters=SCHEDULE).events)
  assert lines == ['run_stop is at step 200, without the target; the schedule in its hyperparameters has 300']
  assert audit.findings(record([*values[:1], {'accuracy': 0.95}], hyperparameters=SCHEDULE).events) == []
