"""What runs of the launchers, in processes of their own, leave on their tapes."""
import subprocess
import sys
import tempfile
from pathlib import Path

from launchers import command
from scoring import clocks
from scoring import tape as tapes
from scoring.problem import Problem

ROOT = Path(__file__).resolve().parents[1]


def train(*arguments: str, processes: int = 0) -> list[dict]:
  """The tape of one run of launchers.train, or of a local pod of so many processes, with these flags.

  Raises:
    Problem: it ended before its target and before its schedule's end.
  """
  pod = ['launchers.pod', '--cluster=local', f'--num_processes={processes}', '--']
  with tempfile.TemporaryDirectory() as workdir:
    ran = subprocess.run([sys.executable, '-m', *(pod if processes else ['launchers.train']), *arguments,
                          f'--workdir={workdir}'], cwd=ROOT, capture_output=True, text=True)
    if ran.returncode not in (command.REACHED, command.NOT_REACHED):
      said = [line for line in ran.stderr.splitlines() if line.strip()]
      raise Problem(f'launchers.train {" ".join(arguments)}: {said[-1] if said else f"status {ran.returncode}"}')
    return tapes.read(Path(workdir))


def told(events: list[dict]) -> dict:
  """Of a run to the end of its schedule: its last accuracy, its seconds on the WARM clock, and the device."""
  last = clocks.evaluations(events)[-1:]
  if not last:
    raise Problem(f'a run of {events[0]["benchmark"]} ended before it was evaluated; see what it printed')
  return {'accuracy': last[0]['metrics']['accuracy'], 'seconds': round(clocks.seconds(events, clocks.WARM, 'end'), 4),
          'device': events[0]['hardware']['device_kind']}


def until_first_step(events: list[dict]) -> list[dict]:
  """The events of a tape up to the end of its first step, or first chunk of steps."""
  return events[:1 + next(n for n, e in enumerate(events) if e['event'] == 'train' and e['edge'] == 'stop')]


def seconds_a_sample(events: list[dict], *, skip_steps: int) -> float:
  """Of the train spans that begin at step `skip_steps` or later, waiting for input included."""
  edges = [e for e in tapes.effective(events) if e['event'] == 'train']
  pairs = [(a, b) for a, b in zip(edges[::2], edges[1::2]) if a['step'] >= skip_steps]
  if not pairs:
    raise Problem(f'no step after the first {skip_steps} on the tape: train for more')
  return sum(b['time'] - a['time'] for a, b in pairs) / sum(b['samples'] - a['samples'] for a, b in pairs)
