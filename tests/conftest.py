"""Eight CPU devices for every test in this process; a mesh takes as many of them as it wants."""
import os

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
