"""Four processes, each ended by each signal in each phase of a run: 24 cases, and all of them end with the same bits.

`make test-pods`; it leaves runs/kill_matrix.md, a table of how long each case took.
"""
import os
import signal
import time

import pytest

from scoring import tape as tapes
from tests.launchers.running import ROOT, finish, pod, process_of, read_json, start_pod
from tests.launchers.test_pods import BOUND_SECONDS, WATCHED, same_end

pytestmark = pytest.mark.pods
PROCESSES = 4


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A pod that nothing happened to."""
  workdir = tmp_path_factory.mktemp('whole')
  done = pod(workdir, PROCESSES, *WATCHED)
  assert done.returncode == 3, done.stderr
  return workdir


@pytest.fixture(scope='module')
def table():
  """Rows of what each case took, written at the end."""
  rows = []
  yield rows
  head = ['signal', 'process', 'during', 'seconds until all had ended', 'resumed from step', 'seconds lost',
          'same bits']
  path = ROOT / 'runs' / 'kill_matrix.md'
  path.parent.mkdir(exist_ok=True)
  path.write_text(''.join(f'| {" | ".join(map(str, row))} |\n' for row in [head, ['---'] * len(head), *rows]))


def wait_for_phase(workdir, phase: str, times: int, process):
  """Waits until the `times`-th span of this name has begun."""
  path = workdir / 'tape.jsonl'
  while process.poll() is None:
    lines = path.read_text().splitlines() if path.exists() else []
    if sum(line.startswith(f'{{"event": "{phase}"') and '"edge": "start"' in line for line in lines) >= times:
      return
    time.sleep(0.005)
  raise AssertionError(process.communicate())


@pytest.mark.parametrize('phase', ['train', 'eval', 'checkpoint'])
@pytest.mark.parametrize('victim', range(PROCESSES))
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_every_process_may_end_at_every_moment(number, victim, phase, whole, table, tmp_path):
  workdir = tmp_path / 'run'
  process = start_pod(workdir, PROCESSES, *WATCHED)
  wait_for_phase(workdir, phase, 2, process)
  begin = time.monotonic()
  os.kill(process_of(workdir, victim), number)
  done = finish(process)
  seconds = time.monotonic() - begin
  assert done.returncode == (75 if number == signal.SIGTERM else 76), done.stderr
  if number == signal.SIGKILL:
    assert seconds < BOUND_SECONDS
    assert f'process {victim} of {PROCESSES}' in done.stderr and ' lost' in done.stderr, done.stderr
  again = pod(workdir, PROCESSES, *WATCHED)
  assert again.returncode == 3, again.stderr
  same_end(workdir, whole)
  resumed = [e for e in tapes.read(workdir) if e['event'] == 'process'][-1]['resumed']['step']
  lost = read_json(workdir / 'record.json')['seconds_by_span'].get('lost', 0.0)
  table.append([number.name, victim, phase, f'{seconds:.1f}', resumed, f'{lost:.1f}', 'yes'])
