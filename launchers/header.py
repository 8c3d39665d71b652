"""What ran: the first line of a tape."""
import importlib.metadata
import os
import platform
import sys

from absl import flags

from launchers import checkout, command, machine, recipe
from scoring import cost

FLAGS = flags.FLAGS
flags.DEFINE_float('usd_per_hour', None, 'price of the whole machine or cluster; default: from scoring/prices.csv')
flags.DEFINE_string('price', None, 'name of a row of scoring/prices.csv, of this device')
flags.DEFINE_string('author', '', 'for DAWNBench entries')
flags.DEFINE_string('author_email', '', 'for DAWNBench entries')
flags.DEFINE_string('organization', 'unnamed', 'for MLPerf logs')
flags.DEFINE_string('hardware', '', 'how to name this machine in records; default: as the machine says')
flags.DEFINE_enum('status', 'onprem', ['cloud', 'onprem', 'preview', 'research'], 'of the machine, for MLPerf')
flags.DEFINE_enum('division', 'closed', ['closed', 'open'], 'MLPerf\'s division')
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'daybreak')


def versions() -> dict[str, str]:
  found = {'python': platform.python_version()}
  for name in PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = 'not installed'
  return found


def hardware(devices) -> dict:
  """The machine, as the header of a tape names it."""
  import jax
  return {'platform': devices[0].platform, 'device_kind': devices[0].device_kind, 'device_count': len(devices),
          'process_count': jax.process_count(), 'host': machine.name(), 'host_cores': machine.cores()}


def submitter() -> dict[str, str]:
  """Who submits, as the flags say."""
  return {'organization': FLAGS.organization, 'author': FLAGS.author, 'author_email': FLAGS.author_email,
          'hardware': FLAGS.hardware, 'status': FLAGS.status}


def on(found: dict) -> dict:
  """What of the first line of a tape follows from code, flags and environment, on a machine as `hardware` names it."""
  status = checkout.changed()
  return {
      'code_sha256': checkout.code_sha256(), 'git_commit': checkout.git('rev-parse', 'HEAD'),
      'git_dirty': None if status is None else bool(status),
      'versions': versions(), 'hardware': found, 'xla_flags': os.environ.get('XLA_FLAGS', ''),
      'price': cost.price_for(found, usd_per_hour=FLAGS.usd_per_hour, name=FLAGS.price),
      'division': FLAGS.division, 'submitter': submitter()}


def header(config, task, devices) -> dict:
  """What ran: the first line of a tape."""
  return {'tape_version': 1, **recipe.describe(config, task), 'command': command.recorded(sys.argv[1:]),
          **on(hardware(devices))}
