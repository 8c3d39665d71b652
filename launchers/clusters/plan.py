"""What a pod command does, all of it, before any of it is done: files to write and commands to run."""
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scoring import record
from scoring.problem import Problem


@dataclass(frozen=True)
class Command:
  """A command as the operating system gets it; `env` is added to the environment."""
  argv: Sequence[str]
  env: Mapping[str, str] = field(default_factory=dict)

  def __str__(self):
    return ' '.join([*(f'{name}={shlex.quote(value)}' for name, value in self.env.items()), shlex.join(self.argv)])


@dataclass(frozen=True)
class Plan:
  """What `--dry_run` prints is what runs.

  Attributes:
    files: path -> text, written before anything runs.
    commands: run in order (of a local pod: side by side); the first that fails ends it.
  """
  files: Mapping[str, str]
  commands: Sequence[Command]

  def __str__(self):
    return ''.join([*(f'# {path}\n{text}\n' for path, text in self.files.items()),
                    *(f'$ {command}\n' for command in self.commands)])

  def write(self):
    """Writes the files, each whole or not at all."""
    for path, text in self.files.items():
      record.write_text(Path(path), text)

  def run(self) -> int:
    """Writes the files and runs the commands; the status of the first that failed, or 0.

    SIGTERM is passed on, and Ctrl-C, which a terminal gives to commands too, left to them: they have to clean up.

    Raises:
      Problem: a program is not installed here.
    """
    for command in self.commands:
      if shutil.which(command.argv[0]) is None:
        raise Problem(f'{command.argv[0]}: is not installed here; install it, or see with --dry_run what would run and '
                      'run that elsewhere')
    self.write()
    for command in self.commands:
      signal.signal(signal.SIGINT, lambda *_: None)
      process = subprocess.Popen(command.argv, env={**os.environ, **command.env})
      signal.signal(signal.SIGTERM, lambda *_: process.terminate())
      status = process.wait()
      if status:
        return status if status > 0 else 128 - status
    return 0


def flag_value(flags_of_train: Sequence[str], name: str) -> str | None:
  """The value of --name=value among the flags for train, the last one as absl has it; None where it is not given."""
  values = [flag.split('=', 1)[1] for flag in flags_of_train if flag.startswith(f'--{name}=')]
  return values[-1] if values else None
