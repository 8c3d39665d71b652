"""Runs the scripts of benchmarks/ as `python -m` does, each in a fork of one process that has imported what they share.

Reads a list of {name, arguments, missing} as JSON, `missing` being packages that are taken for not installed, and
prints of each [status, stdout, stderr]. A script that is still at it after SECONDS is ended by SIGALRM, status -14.
"""
import json
import os
import runpy
import signal
import sys
import tempfile

from benchmarks import airbench_peer, progress, report, runs, serving_cases, turns  # noqa: F401
from launchers import sinks  # noqa: F401
from training import loop  # noqa: F401

SECONDS = 60  # a second or two on a machine that does nothing else


def run(name: str, arguments: list[str], missing: list[str]):
  """Never returns."""
  signal.alarm(SECONDS)
  sys.modules.update(dict.fromkeys(missing))  # None: Python says that there is no such module
  sys.modules.pop(f'benchmarks.{name}', None)
  sys.argv[1:] = arguments
  status = 1
  try:
    runpy.run_module(f'benchmarks.{name}', run_name='__main__', alter_sys=True)
    status = 0
  except SystemExit as ended:
    status = ended.code
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def told(name: str, arguments: list[str], missing: list[str]) -> list:
  """[status, stdout, stderr]"""
  with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
    child = os.fork()
    if not child:
      os.dup2(out.fileno(), 1)
      os.dup2(err.fileno(), 2)
      run(name, arguments, missing)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [status, *(file.seek(0) or file.read() for file in (out, err))]


if __name__ == '__main__':
  print(json.dumps([told(**one) for one in json.load(sys.stdin)]))
