"""Eight CPU devices for every test in this process; a mesh takes as many of them as it wants."""
import os
from pathlib import Path

# libtpu is installed to compile for TPUs; without this it would look for one in each process, and complain.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax
import pytest

jax.config.update('jax_num_cpu_devices', 8)


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
