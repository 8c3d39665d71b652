"""What a page of 10,000 runs takes: to derive and write it, against deriving the records alone; and to open it.

  python -m benchmarks.page [--runs=10000]

The runs are copies of the published tapes of digits, half of them in sets of twenty, half single. Opening is measured
in headless Chromium, from the address to the drawn board, where playwright and a browser are installed (the extra
`page`, Debian's chromium); where they are not, `opens_seconds` is null. Where other work runs beside it, look at the
processor's seconds, `writes_cpu_seconds`.
"""
import importlib.util
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from absl import flags

from benchmarks import progress
from benchmarks.report import report
from launchers import command
from scoring import ledger, record
from scoring import tape as tapes
from scoring.page import site

SOURCE = Path(__file__).resolve().parents[1] / 'results' / 'digits_2core_epyc'
REPETITIONS, SAMPLE = 3, 300
FLAGS = flags.FLAGS
flags.DEFINE_integer('runs', 10_000, 'how many runs the page shows', lower_bound=40)


def make(root: Path, count: int):
  """`count` runs below `root`: half in sets of twenty, the others by themselves."""
  tapes_there = sorted(SOURCE.glob('run_*/tape.jsonl'))
  for number in range(count):
    inside = number < count // 40 * 20
    name = f'set_{number // 20:04d}/{ledger.run_name(number % 20)}' if inside else f'single/{number:05d}'
    (root / name).mkdir(parents=True)
    shutil.copy(tapes_there[number % len(tapes_there)], root / name)
    if inside and number % 20 == 0:
      shutil.copy(SOURCE / 'ledger.jsonl', root / f'set_{number // 20:04d}')


def opening(index: Path) -> list[float] | None:
  """Seconds from the address to the drawn board, several times; None without a browser."""
  from tests.page import browser as browsers
  if importlib.util.find_spec('playwright') is None or not browsers.find():
    return None
  found = []
  with browsers.chromium() as browser:
    for _ in range(REPETITIONS):
      with browsers.watched(browser, viewport={'width': 1440, 'height': 900}) as page:
        begin = time.perf_counter()
        page.goto(f'{index.as_uri()}#task=digits')
        page.wait_for_selector('#board table')
        page.evaluate('new Promise(done => requestAnimationFrame(() => setTimeout(done)))')  # and painted
        found.append(time.perf_counter() - begin)
  return found


def cpu_seconds() -> float:
  """Of this process and of those that it has waited for: tapes are read by several."""
  return sum(os.times()[:4])


def main() -> int:
  with tempfile.TemporaryDirectory() as name:
    root, output = Path(name) / 'runs', Path(name) / 'page'
    make(root, FLAGS.runs)
    sample = sorted(root.glob('**/tape.jsonl'))[::max(1, FLAGS.runs // SAMPLE)]
    ours, peer, cpu = [], [], []
    for _ in progress.told(REPETITIONS, 'repetition'):
      begin, begin_cpu = time.perf_counter(), cpu_seconds()
      index, collection = site.write(root, output)
      ours.append((time.perf_counter() - begin) / FLAGS.runs * 1e3)
      cpu.append(round(cpu_seconds() - begin_cpu, 2))
      begin = time.perf_counter()
      for path in sample:
        record.record(tapes.read(path))
      peer.append((time.perf_counter() - begin) / len(sample) * 1e3)
    shown = sum(row['n'] for row in collection.rows.values())
    assert shown == FLAGS.runs, f'{shown} of {FLAGS.runs} runs are on the page'
    sizes = {path.name: path.stat().st_size for path in sorted(output.iterdir())}
    opened = opening(index)
  report('page', ours=ours, peer=peer, peer_name='scoring.record.record, each tape by itself', unit='ms/run',
         runs=FLAGS.runs, writes_seconds=[round(one * FLAGS.runs / 1e3, 2) for one in ours],
         writes_cpu_seconds=cpu, bytes=sizes,
         opens_seconds=opened and [round(one, 2) for one in opened],
         opens_median=opened and round(statistics.median(opened), 2))
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
