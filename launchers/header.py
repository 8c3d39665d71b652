"""What ran: the first line of a tape."""
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

from absl import flags

from scoring import cost
from scoring import tape as tapes
from training import config as configs

FLAGS = flags.FLAGS
flags.DEFINE_float('usd_per_hour', None, 'price of the whole machine or cluster; default: from scoring/prices.csv')
flags.DEFINE_string('price', None, 'name of a row of scoring/prices.csv')
flags.DEFINE_string('author', '', 'for DAWNBench entries')
flags.DEFINE_string('author_email', '', 'for DAWNBench entries')
flags.DEFINE_string('organization', 'unnamed', 'for MLPerf logs')
flags.DEFINE_string('hardware', '', 'how to name this machine in records; default: as the machine says')
flags.DEFINE_enum('status', 'onprem', ['cloud', 'onprem', 'preview', 'research'], 'of the machine, for MLPerf')
flags.DEFINE_enum('division', 'closed', ['closed', 'open'], 'MLPerf\'s division')
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'daybreak')
ROOMS = ('launchers', 'references', 'training', 'serving', 'input_pipelines', 'scoring')


def code_sha256() -> str:
  """Digest of the Python files that a run may use, by path and content."""
  digest = hashlib.sha256()
  for path in sorted(path for room in ROOMS for path in (tapes.ROOT / room).rglob('*.py')):
    digest.update(f'{path.relative_to(tapes.ROOT)}\n'.encode() + path.read_bytes())
  return digest.hexdigest()


def versions() -> dict[str, str]:
  found = {'python': platform.python_version()}
  for name in PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = 'not installed'
  return found


def git(*args: str) -> str | None:
  """What git says of this checkout; None where there is no git or no checkout."""
  try:
    done = subprocess.run(['git', *args], cwd=tapes.ROOT, capture_output=True, text=True)
  except OSError:
    return None
  return done.stdout.strip() if done.returncode == 0 else None


def hardware(devices) -> dict:
  """The machine, as the header of a tape names it."""
  try:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    cpu = next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
  except (OSError, StopIteration):
    cpu = platform.processor() or platform.machine()
  import jax
  return {'platform': devices[0].platform, 'device_kind': devices[0].device_kind, 'device_count': len(devices),
          'process_count': jax.process_count(), 'host': cpu, 'host_cores': len(os.sched_getaffinity(0))
          if hasattr(os, 'sched_getaffinity') else os.cpu_count()}


def header(config, task, devices) -> dict:
  """What ran: the first line of a tape."""
  machine, status = hardware(devices), git('status', '--porcelain')
  return {
      'tape_version': 1, 'benchmark': task.benchmark, 'model': task.model_name,
      'target': {'metric': task.target.metric, 'value': task.target.value, 'num_examples': task.target.num_examples},
      'num_train_examples': task.data['train'].order.num_examples, 'batch_size': config.batch_size,
      'hyperparameters': {**task.hyperparameters, 'gradient_accumulation_steps': config.gradient_accumulation_steps},
      'tricks': dict(task.tricks), 'config': configs.to_text(config), 'seed': config.seed, 'command': sys.argv[1:],
      'git_commit': git('rev-parse', 'HEAD'), 'git_dirty': None if status is None else bool(status),
      'versions': versions(), 'hardware': machine, 'xla_flags': os.environ.get('XLA_FLAGS', ''),
      'price': cost.price_for(machine, usd_per_hour=FLAGS.usd_per_hour, name=FLAGS.price),
      'division': FLAGS.division,
      'submitter': {'organization': FLAGS.organization, 'author': FLAGS.author, 'author_email': FLAGS.author_email,
                    'hardware': FLAGS.hardware, 'status': FLAGS.status}}
