"""The numbers of a compiled program, kept by the content of what was compiled.

An executable that was compiled without its devices cannot be read back, but what was learned of it can.
"""
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import re
import time
from pathlib import Path

from absl import flags

from launchers import collectives
from launchers.topology import Topology
from scoring.problem import Problem

flags.DEFINE_string('cache_dir', '~/.cache/daybreak/reports', 'keeps the numbers of programs, by a digest of each '
                    'lowered program, versions, topology and options; empty: keeps none')
FORMAT = 1  # of an entry; goes into its key
UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


def versions() -> dict[str, str]:
  """Of the packages that decide what a program is compiled to; libtpu may be missing."""
  found = {}
  for name in ('jax', 'jaxlib', 'libtpu'):
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      pass
  return found


def key(text: str, topology: Topology, device_ids: list[int]) -> str:
  """sha256 over all that decides the numbers: the lowered program, versions, topology, the compilers' options."""
  options = {name: os.environ.get(name, '') for name in ('XLA_FLAGS', 'LIBTPU_INIT_ARGS')}
  text = re.sub(r'(@CustomSPMDPartitioning\(.*?backend_config = )"\d+"', r'\1""', text)  # an address in this process
  content = [FORMAT, text, versions(), topology.name, device_ids, options]
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class Cache:
  """Numbers of programs in a folder, a file each; `compiled` and `read` count where they came from.

  Attributes:
    directory: None keeps nothing.
  """

  def __init__(self, directory: str):
    self.directory = Path(directory).expanduser() if directory else None
    self.compiled = self.read = 0

  def numbers(self, lowered, topology: Topology, device_ids: list[int]) -> dict:
    """The numbers of a lowered program: kept ones, or measured now and kept."""
    file = self.directory and self.directory / f'{key(lowered.as_text(), topology, device_ids)}.json'
    try:
      kept = json.loads(file.read_text()) if file else None
    except (OSError, ValueError):  # none yet, or cut short: measured again
      kept = None
    if kept:
      self.read += 1
      return kept
    self.compiled += 1
    made = {**measure(lowered, topology), 'versions': versions()}
    if file:
      self._write(file, made)
    return made

  def summary(self) -> str:
    kept = f' ({self.directory})' if self.directory else ''
    return f'programs  {self.compiled} compiled, {self.read} known from before{kept}'

  def _write(self, file: Path, made: dict):
    try:
      self.directory.mkdir(parents=True, exist_ok=True)
      part = file.with_suffix(f'.{os.getpid()}')
      part.write_text(json.dumps(made))
      part.replace(file)
    except OSError as error:
      raise Problem(f'--cache_dir={self.directory}: cannot write there ({error.strerror}); name another, or none with '
                    '--cache_dir=') from None


def measure(lowered, topology: Topology) -> dict:
  """Compiles, and returns what each device needs and does: bytes of memory, FLOPs, bytes accessed, collectives.

  XLA counts the body of a loop once. Where XLA itself finds that memory does not suffice, `out_of_memory` has what it
  says instead.
  """
  import jax
  begun = time.monotonic()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    return {'out_of_memory': out_of_memory(str(error)), 'compile_seconds': round(time.monotonic() - begun, 1)}
  seconds = round(time.monotonic() - begun, 1)
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  parts = {name: getattr(memory, f'{name}_size_in_bytes') for name in ('argument', 'output', 'alias', 'temp')}
  found = collectives.parse(compiled.as_text(), topology.num_devices, topology.num_slices)
  return {'memory_bytes': {**parts, 'generated_code': memory.generated_code_size_in_bytes},
          'flops': cost.get('flops', 0.0), 'bytes_accessed': cost.get('bytes accessed', 0.0),
          'collectives': [dataclasses.asdict(one) for one in found], 'compile_seconds': seconds}


def out_of_memory(message: str) -> dict:
  """{needed_bytes, available_bytes, message} of XLA's message, whose numbers are rounded to 10 MiB or so.

  It has two forms: `... (33.54G) exceeds available HBM (15.75G)` and `Used 33.54G of 15.75G hbm`.
  """
  amount = r'\(?([\d.]+)([KMGT]?)i?B?\)?'
  found = (re.search(rf'{amount} exceeds available HBM {amount}', message)
           or re.search(rf'Used {amount} of {amount} hbm', message))
  numbers = [int(float(found[n]) * UNITS[found[n + 1]]) for n in (1, 3)] if found else [None, None]
  return {'needed_bytes': numbers[0], 'available_bytes': numbers[1], 'message': message.splitlines()[0]}
