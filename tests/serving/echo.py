"""A model that answers each sample with its number, under the real LoadGen, in a process of its own.

  python -m tests.serving.echo FOLDER SCENARIO MODE [fail]

Samples are of two lengths; `fail`: reading sample 5 fails, as a damaged image would.
"""
import types
from pathlib import Path

import numpy as np

from launchers import command, traffic
from scoring import scenarios
from scoring.problem import Problem
from scoring.tape import Tape
from serving.served import Served

NUM = 77  # 8 does not divide it; early stopping needs 64


def served(fail: bool = False) -> Served:
  lengths = np.array([3 if n % 3 else 6 for n in range(NUM)])

  def read(samples, rows):
    for row, n in zip(rows, samples):
      if fail and n == 5:
        raise Problem('img_5.jpg: not a JPEG; replace it')
      row[:lengths[n]] = n + 1

  def measure(answers):
    found = {int(n): int(row[0]) for samples, rows in answers for n, row in zip(samples, rows)}
    return {'accuracy': sum(found[n] == n for n in found) / len(found)}, len(found)

  # the mean over what is no padding, less one: the number
  answer = lambda weights, rows: (rows.sum(1, keepdims=True) // (rows > 0).sum(1, keepdims=True) - weights['one'])
  return Served(lengths, (4, 8), lambda length: ((length,), np.int32), read, {'one': np.int32(1)}, answer,
                np.arange(NUM), measure, 'repeated')


def main(argv, doc):
  folder, name, mode, fail = Path(argv[1]), argv[2], argv[3], argv[4:] == ['fail']
  rules = scenarios.rules('echo', 'Echo')
  flags = types.SimpleNamespace(mode=mode, min_duration_seconds=0.2, min_queries=100 if name == 'offline' else None,
                                target_qps=2000.0 if name == 'server' else None, find_peak=False)
  sizes = {'single_stream': (1,), 'multi_stream': (8,), 'server': (1, 2, 4), 'offline': (16,)}[name]
  folder.mkdir(exist_ok=True)
  tape = Tape(folder / 'tape.jsonl')
  tape.event('process')
  traffic.drive(served(fail), sizes, tape, folder, rules, rules.scenario(name), flags)
  return 0


if __name__ == '__main__':
  command.run(main, __doc__)
