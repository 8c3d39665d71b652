"""Runs the launchers as people do: as processes."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIGITS = 'references/cifar/configs/digits.py'
# LLVM at a lower level, for tests and the launchers that they start: both compile much and compute little. Most files
# take three quarters of the time, a training of a small ResNet without a cache half. The last of two counts:
# XLA_FLAGS=--xla_backend_optimization_level=3 has all compile as everybody does.
XLA_FLAGS = f'--xla_backend_optimization_level=1 {os.environ.get("XLA_FLAGS", "")}'.strip()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs have it, and what they start too
  signal.signal(signal.SIGINT, signal.default_int_handler)


def start(module: str, *arguments, env=None) -> subprocess.Popen:
  """A launcher; `env` is added to what there is, and its XLA_FLAGS to those of all tests."""
  env = {**(env or {}), 'XLA_FLAGS': f'{XLA_FLAGS} {(env or {}).get("XLA_FLAGS", "")}'.strip()}
  return subprocess.Popen([sys.executable, '-m', f'launchers.{module}', *map(str, arguments)], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env})


def start_pod(workdir, processes: int, *arguments, config='tests/launchers/slow_digits.py') -> subprocess.Popen:
  """A local pod; its processes are in sessions of their own, and end with it."""
  return start('pod', '--cluster=local', f'--num_processes={processes}', '--', f'--config={config}',
               f'--workdir={workdir}', *arguments)


def pod(workdir, processes: int, *arguments, **options):
  return finish(start_pod(workdir, processes, *arguments, **options))


def process_of(workdir, number: int) -> int:
  """The process id of process `number` of the pod that is at work in `workdir`."""
  for path in Path('/proc').glob('[0-9]*/cmdline'):
    try:
      argv = path.read_bytes().split(b'\0')
    except OSError:
      continue
    if b'launchers.train' in argv and f'--workdir={workdir}'.encode() in argv and \
        f'--process_id={number}'.encode() in argv:
      return int(path.parent.name)
  raise AssertionError(f'process {number} of {workdir} is not there')


def finish(process: subprocess.Popen, timeout: float = 240):
  out, err = process.communicate(timeout=timeout)
  return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def launch(module: str, *arguments, env=None):
  return finish(start(module, *arguments, env=env))


def train(workdir, *arguments, config=DIGITS, env=None):
  return launch('train', f'--config={config}', f'--workdir={workdir}', *arguments, env=env)


def read_json(path):
  return json.loads(Path(path).read_text())


def one_line(text: str) -> str:
  """The only line of an error message that a person is meant to read."""
  lines = [line for line in text.splitlines() if line.startswith('error: ')]
  assert len(lines) == 1, text
  assert 'Traceback' not in text, text
  return lines[0]


def wait_for(path: Path, text: str, process, seconds: float = 120):
  """Waits until the file holds `text` while the process lives."""
  end = time.monotonic() + seconds
  while time.monotonic() < end and process.poll() is None:
    if path.exists() and text in path.read_text(errors='replace'):
      return
    time.sleep(0.005)
  raise AssertionError(f'{text!r} never came to {path}: {process.communicate()}')


def kill(process, number=signal.SIGKILL):
  process.send_signal(number)
  return finish(process)
