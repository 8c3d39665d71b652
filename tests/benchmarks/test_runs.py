"""What benchmarks read off tapes, and the three that do: start-up, waiting for input, weak scaling."""
import ast
import json
import subprocess
import sys

import pytest

from benchmarks import input_wait, runs, start_up
from input_pipelines import imagenet
from scoring.problem import Problem
from tests.input_pipelines import made_images
from tests.launchers.running import launch
from training import loop

LINES = (  # a tape of 30 steps of 4 samples: the first ten take 5 s, the next two stretches 1 s and 3 s
    {'event': 'process', 'time': 0.0}, {'event': 'train', 'edge': 'start', 'time': 1.0, 'step': 0, 'samples': 0},
    {'event': 'train', 'edge': 'stop', 'time': 6.0, 'step': 10, 'samples': 40},
    {'event': 'train', 'edge': 'start', 'time': 7.0, 'step': 10, 'samples': 40},
    {'event': 'train', 'edge': 'stop', 'time': 8.0, 'step': 20, 'samples': 80},
    {'event': 'train', 'edge': 'start', 'time': 10.0, 'step': 20, 'samples': 80},
    {'event': 'train', 'edge': 'stop', 'time': 13.0, 'step': 30, 'samples': 120})


def test_first_steps_can_be_left_out_and_what_lies_between_does_not_count():
  events = list(LINES)
  assert runs.seconds_a_sample(events, skip_steps=10) == 4 / 80
  assert runs.seconds_a_sample(events, skip_steps=0) == 9 / 120
  assert runs.until_first_step(events) == events[:3]
  with pytest.raises(Problem, match='first 30'):
    runs.seconds_a_sample(events, skip_steps=30)


def test_a_run_that_fails_is_one_line_and_not_a_measurement():
  with pytest.raises(Problem, match='nowhere.py.*no such file'):
    runs.train('--config=nowhere.py')
  with pytest.raises(Problem, match='nowhere.py.*no such file'):
    runs.train('--config=nowhere.py', processes=2)


def test_a_peer_that_fails_leaves_ours_and_its_last_words():
  calls = iter(range(10))
  wrong = 'import sys; print("note", file=sys.stderr); sys.exit("no such thing")'
  made_, peer, failed = start_up.turns(lambda: next(calls), lambda: start_up.seconds(wrong), 3)
  assert (made_, peer) == ([0, 1, 2], None) and failed.endswith('no such thing')
  assert start_up.turns(lambda: 1, lambda: start_up.seconds('', '/no/such/python'), 1)[1] is None
  made_, peer, failed = start_up.turns(lambda: 1, lambda: start_up.seconds('pass'), 2)
  assert not failed and len(peer) == 2 and all(0 < seconds < 60 for seconds in peer)


def test_the_peers_of_start_up_are_scripts():
  for script in (start_up.TORCH, start_up.FLAX):
    ast.parse(script.format(batch_size=4, image_size=32, example='/x'))


def test_a_batch_is_made_when_it_is_due_and_only_within():
  asked, before = [], (loop.Feed, loop.IN_FLIGHT, imagenet.AHEAD)
  with input_wait.nothing_ahead():
    feed = loop.Feed((asked.append(n) or n for n in range(3)), lambda n: (n,))
    assert not asked and next(feed) == (0,) and asked == [0] and feed.wait_seconds > 0
    order = imagenet.Shuffled(64, 8, 0)
    begun = []
    batches = imagenet.Batches(order, lambda index, *_: begun.append(len(index)) or [0] * len(index), lambda step: 32,
                               False, (0, 1))(0, 4)
    next(batches)
    assert sum(begun) == 8
    batches.close()
  assert (loop.Feed, loop.IN_FLIGHT, imagenet.AHEAD) == before


def lines(module: str, *arguments: str) -> list[dict]:
  """What a benchmark prints."""
  ran = subprocess.run([sys.executable, '-m', f'benchmarks.{module}', *arguments], cwd=runs.ROOT, capture_output=True,
                       text=True, timeout=600)
  assert not ran.returncode, ran.stderr
  return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{')]


@pytest.mark.slow
def test_waiting_for_photographs_is_measured_with_and_without_batches_made_ahead(tmp_path):
  ran = launch('prepare', '--dataset=image_folder', '--name=few', f'--data_dir={tmp_path / "sets"}',
               f'--from_dir={made_images.folders(tmp_path / "folders")}', '--workers=1')
  assert not ran.returncode, ran.stderr
  waiting, step = lines('input_wait', f'--data_dir={tmp_path / "sets"}', '--name=few', '--depth=14', '--batch_size=4',
                        '--image_size=32', '--steps=3', '--turns=2')
  assert (waiting['unit'], step['unit']) == ('%', 's/step') and waiting['n'] == step['n'] == 2
  assert 0 < waiting['ours'] < 100 and 0 < waiting['peer'] < 100
  assert 0 < step['pipeline_seconds'] < step['peer'] and step['step_seconds'] < step['peer']


@pytest.mark.slow
def test_pods_are_measured_against_one_process():
  (two,) = lines('weak_scaling', '--processes=2', '--rows_a_process=32', '--steps=20', '--skip_steps=10', '--runs=1',
                 '--width=8')
  assert two['what'] == '2 processes' and two['unit'] == 's/image' and two['n'] == 1
  assert two['ratio'] == pytest.approx(two['peer'] / two['ours'], rel=0.01)
  assert set(two['images_per_second']) == {'1', '2'}
