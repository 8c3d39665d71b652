"""What is freed stays with the process, whichever thread allocates, unless the machine has accelerators."""
import subprocess
import sys

import pytest

SCRIPT = '''
import resource, sys, threading
import numpy as np
from launchers import memory
memory.ACCELERATORS = sys.argv[2:]
if sys.argv[1] == 'keep':
  memory.keep_freed()
faults = []
def use():
  for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 24)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
use()
thread = threading.Thread(target=use)
thread.start()
thread.join()
print(max(faults[1:]), min(faults))
'''


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc')
@pytest.mark.parametrize('arguments, more, kept', [
    (['keep'], {}, True), (['keep', '/dev/none*', '/dev/null'], {}, False), (['leave'], {}, False),
    (['keep'], {'MALLOC_ARENA_TEST': '2'}, False)])
def test_pages_are_asked_for_once_or_each_time(arguments, more, kept):
  env = {'NUMPY_MADVISE_HUGEPAGE': '0', **more}  # pages of 4 KiB: 128 MiB are 32,768 of them
  done = subprocess.run([sys.executable, '-c', SCRIPT, *arguments], env=env, capture_output=True, text=True, check=True)
  most, least = map(int, done.stdout.split())
  assert most < 1000 if kept else least > 20000
