"""Eight CPU devices for every test in this process; a mesh takes as many of them as it wants."""
import os
import tempfile
from pathlib import Path

# libtpu is installed to compile for TPUs; without this it would look for one in each process, and complain.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

from tests.launchers.running import XLA_FLAGS

_flags = os.environ.get('XLA_FLAGS')
os.environ['XLA_FLAGS'] = XLA_FLAGS

import jax
import pytest

# Tests of a file compile the same programs again and again: each process keeps its own, until it ends.
_programs = tempfile.TemporaryDirectory(prefix='daybreak-programs-')
jax.config.update('jax_compilation_cache_dir', _programs.name)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
jax.config.update('jax_num_cpu_devices', 8)
jax.devices()  # reads the flags, once
if _flags is None:
  del os.environ['XLA_FLAGS']
else:
  os.environ['XLA_FLAGS'] = _flags


# Files that take a minute or more: they go first, so that no process is left alone with one (make test).
LONG = [Path(__file__).parent / name for name in (
    'launchers/test_infer.py', 'launchers/test_runs.py', 'training/test_core.py', 'launchers/test_compile.py',
    'launchers/test_squad.py', 'launchers/test_prepare_images.py', 'references/test_cifar10.py',
    'layers/test_convolution.py', 'references/test_squad.py', 'launchers/test_bad_input.py')]


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: LONG.index(item.path) if item.path in LONG else len(LONG))


@pytest.fixture(scope='session')
def data_dir():
  """The folder of real data that the environment names; tests that want it are skipped, and counted, without."""
  folder = os.environ.get('DAYBREAK_TEST_DATA')
  if not folder:
    pytest.skip('needs real data: set DAYBREAK_TEST_DATA')
  return folder


@pytest.fixture(scope='session')
def squad_files():
  """The folder of SQuAD's own files in the real data; not by `data_dir`, a name that modules reuse."""
  folder = Path(os.environ.get('DAYBREAK_TEST_DATA', ''), 'squad')
  if not folder.is_dir():
    pytest.skip('needs real SQuAD: set DAYBREAK_TEST_DATA')
  return folder
