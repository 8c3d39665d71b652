"""The line that every benchmark ends with."""
import collections
import contextlib
import datetime
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from launchers import checkout, machine

PACKAGES = ('jax', 'jaxlib', 'flax', 'torch', 'torchvision', 'transformers', 'onnxruntime', 'mlcommons-loadgen',
            'mlperf-logging', 'onnxscript', 'tensorflow')  # named with their versions where they are installed


def spread(values) -> float:
  """(maximum - minimum) / median."""
  return (max(values) - min(values)) / statistics.median(values)


def host() -> str:
  """The processor, how many cores of it this process may use, its instructions for bfloat16, and NVIDIA's GPUs."""
  told, known = machine.cpu(), machine.bfloat16_instructions() or []
  return ', '.join([f'{machine.name()} (family {told.get("cpu family", "?")}, model {told.get("model", "?")})',
                    f'{machine.cores()} cores', ' and '.join(known) or 'no bfloat16 instructions', *gpus()])


def gpus() -> list[str]:
  """Those that nvidia-smi lists, as '2 x NVIDIA L4'; none where jax is told to compute on CPUs."""
  if os.environ.get('JAX_PLATFORMS') == 'cpu' or not shutil.which('nvidia-smi'):
    return []
  told = subprocess.run(['nvidia-smi', '--query-gpu=name', '--format=csv,noheader'], capture_output=True, text=True)
  names = [] if told.returncode else told.stdout.splitlines()  # it fails where there is a driver and no GPU
  return [f'{count} x {name}' for name, count in collections.Counter(names).items()]


def command(name: str = '', arguments=None) -> str:
  """What was typed, by default to start this process, as `shown`."""
  typed = sys.argv[1:] if arguments is None else arguments
  return shown(['-m', f'benchmarks.{name or Path(sys.argv[0]).stem}', *typed])


def shown(arguments) -> str:
  """A command of Python, each flag as --name=value; folders and interpreters of this machine are left out."""
  place = r'(--\w*(?:dir|python|images))=(?!\d+$)[^,]+'  # --images=20000 is a number of them
  return shlex.join(['python', *(re.sub(place, r'\1=...', one) for one in arguments)])


def versions() -> dict[str, str]:
  found = {}
  for name in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[name] = importlib.metadata.version(name)
  return found


def commit() -> str | None:
  """The commit of this checkout, `+changes` if its Python files are not as committed; None without git."""
  head, changes = (checkout.git(*words) for words in (
      ('rev-parse', '--short=10', 'HEAD'), ('status', '--porcelain', '--', '*.py')))
  return head and head + ('+changes' if changes else '')


def where_and_when() -> dict:
  """What every line says of its making, but for its command."""
  return {'machine': host(), 'date': datetime.date.today().isoformat(), 'commit': commit(), 'versions': versions()}


def report(benchmark: str, *, ours: list[float], peer: list[float] | None, peer_name: str | None, unit: str, **more):
  """Prints one line of JSON: medians, and their ratio, above 1 meaning that ours is better (lower).

  Args:
    ours, peer: the same number of repetitions, in `unit`, lower being better; without a peer there is no ratio.
  """
  mine, theirs = statistics.median(ours), statistics.median(peer) if peer else None
  print(json.dumps({'benchmark': benchmark, 'ours': round(mine, 6), 'peer': theirs and round(theirs, 6),
                    'peer_name': peer_name, 'unit': unit, 'ratio': theirs and round(theirs / mine, 3), 'n': len(ours),
                    'spread': [round(spread(x), 3) for x in (ours, peer) if x], 'command': command(),
                    **where_and_when(), **more}), flush=True)
