"""What is made to break a review, or to hang it, is one line of it."""
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from scoring import ledger, packages, review
from scoring import tape as tapes
from scoring.problem import Problem

DIGITS = tapes.ROOT / 'results' / 'digits_2core_epyc'


@pytest.fixture
def folder(tmp_path):
  """A copy of a set of runs; a test of it that hangs ends."""
  shutil.copytree(DIGITS, tmp_path / 'set')
  before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail('hangs'))
  signal.alarm(30)
  yield tmp_path / 'set'
  signal.alarm(0)
  signal.signal(signal.SIGALRM, before)


@pytest.fixture
def package(folder):
  packages.write(folder, folder.parent / 'package')
  return folder.parent / 'package'


DEEP = '[' * 200_000 + '\n'


@pytest.mark.parametrize('path', ['runs/run_003/tape.jsonl', 'runs/ledger.jsonl', 'manifest.json', 'submission.json'])
def test_brackets_without_end_are_a_finding(package, path):
  (package / path).write_text(DEEP)
  assert any(path.partition('.')[0] in line and '\n' not in line for line in review.review(package).problems)


@pytest.mark.parametrize('path', ['manifest.json', 'submission.json', 'runs/ledger.jsonl', 'runs/run_003/tape.jsonl'])
def test_a_pipe_in_a_submission_is_not_waited_for(package, path):
  (package / path).unlink()
  os.mkfifo(package / path)
  assert any(path in line for line in review.review(package).problems)


@pytest.mark.parametrize('name', ['ledger.jsonl', 'run_003/tape.jsonl', 'summary.json', 'run_003/record.json'])
def test_a_pipe_in_a_set_is_not_waited_for(folder, name):
  (folder / name).unlink(missing_ok=True)
  os.mkfifo(folder / name)
  assert any(name in line for line in review.review(folder).problems)


def test_a_pipe_is_no_run_and_no_ledger(tmp_path, folder):
  for name in ('tape.jsonl', 'ledger.jsonl'):
    os.mkfifo(tmp_path / name)
  for read in (tapes.read, ledger.read):
    with pytest.raises(Problem, match='a device or pipe, not a file'):
      read(tmp_path)


def test_a_number_far_beyond_all_others_is_refused_and_no_gap_of_millions_is_filled(folder):
  (folder / 'run_3000000').mkdir()
  for make in (ledger.names, ledger.summary):
    with pytest.raises(Problem, match='run_3000000 is far beyond the 21 runs'):
      make(folder)
  assert any('far beyond' in line for line in review.review(folder).problems)
  (folder / 'run_3000000').rename(folder / 'run_025')
  assert len(ledger.names(folder)) == 26


def test_a_finding_is_printed_as_one_line_whatever_it_quotes(folder):
  path = folder / 'run_002' / 'tape.jsonl'
  events = [json.loads(line) for line in path.read_text().splitlines()]
  next(e for e in events if e['event'] == 'run_stop')['status'] = 'x\n::error::all is \x1b[2Jwell\u2028é'
  path.write_text(''.join(json.dumps(e) + '\n' for e in events))
  done = subprocess.run([sys.executable, '-m', 'launchers.score', f'--check={folder}'], cwd=tapes.ROOT,
                        capture_output=True, encoding='utf-8')
  printed = done.stdout
  assert done.returncode == 1
  assert all(line.startswith(('problem: ', 'warning: ', '1 entr', '20 entr')) for line in printed.splitlines())
  assert r'run_stop says x\n::error::all is \x1b[2Jwell\u2028é,' in printed
