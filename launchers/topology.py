"""Names of TPU slices, and the devices that they stand for, without a TPU: libtpu describes them on any Linux CPU."""
import csv
import dataclasses
import functools
import importlib.util
import itertools
import math
import os
import re
from pathlib import Path

from scoring.problem import Problem

TABLE = Path(__file__).with_name('chips.csv')
# So that libtpu neither looks for a TPU nor for a metadata server, nor complains; set before jax is imported.
QUIET = {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1', 'TPU_ACCELERATOR_TYPE': 'v5litepod-16',
         'TPU_WORKER_HOSTNAMES': 'localhost', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}


@dataclasses.dataclass(frozen=True)
class Chip:
  """A row of chips.csv.

  Attributes:
    device_kind: as jax names it.
    counted_in: what the number in Cloud TPU's name of a slice counts, `chips` or `cores` (TensorCores).
    cores: TensorCores of a chip; jax sees one device a chip either way.
    hbm_gib: memory that programs can have, GiB.
    bf16_tflops, hbm_gb_per_second: peaks of a chip, 1e12 and 1e9 a second.
    ici_gb_per_second, dcn_gb_per_second: what a chip sends at most, over all its links and over the data centre's
      network, 1e9 bytes a second.
    dimensions, largest: of a slice.
  """
  name: str
  device_kind: str
  counted_in: str
  cores: int
  hbm_gib: float
  bf16_tflops: float
  hbm_gb_per_second: float
  ici_gb_per_second: float
  dcn_gb_per_second: float
  dimensions: int
  largest: str
  date: str
  source: str

  @property
  def cores_counted(self) -> int:
    """How many the name of a slice counts for a chip."""
    return self.cores if self.counted_in == 'cores' else 1

  @property
  def capacity_bytes(self) -> int:
    return int(self.hbm_gib * 2**30)

  @functools.cached_property
  def slices(self) -> list[tuple[int, ...]]:
    """The shapes that Cloud TPU offers, after its pages of v5e and v6e, and of v4 (also v5p's): sides are at most 4 or
    multiples of 4, and rising."""
    largest = tuple(map(int, self.largest.split('x')))
    if self.dimensions == 2:
      return [(1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    sides = itertools.combinations_with_replacement(range(4, largest[-1] + 1, 4), 3)
    cubes = [s for s in sides if all(a <= b for a, b in zip(s, largest))]
    return [(2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4), *sorted(cubes, key=math.prod)]


@functools.cache
def chips() -> dict[str, Chip]:
  """name -> chip, of chips.csv."""
  kinds = {field.name: field.type for field in dataclasses.fields(Chip)}
  rows = csv.DictReader(TABLE.read_text(encoding='utf-8').splitlines())
  return {row['name']: Chip(**{name: kinds[name](value) for name, value in row.items()}) for row in rows}


@dataclasses.dataclass(frozen=True)
class Topology:
  """Slices of one kind of TPU, or CPU devices of this process (`chip` None, `shape` (N,))."""
  chip: Chip | None
  shape: tuple[int, ...]
  num_slices: int = 1

  @property
  def num_devices(self) -> int:
    return self.num_slices * math.prod(self.shape)

  @property
  def name(self) -> str:
    """As this module reads it: v5e:4x4, 2*v5p:4x4x4, cpu-8."""
    shape = 'x'.join(map(str, self.shape))
    if not self.chip:
      return f'cpu-{shape}'
    return (f'{self.num_slices}*' if self.num_slices > 1 else '') + f'{self.chip.name}:{shape}'

  @property
  def cloud_name(self) -> str:
    """As Cloud TPU counts it: v5e-16, v5p-128."""
    if not self.chip:
      return self.name
    size = math.prod(self.shape) * self.chip.cores_counted
    return (f'{self.num_slices}*' if self.num_slices > 1 else '') + f'{self.chip.name}-{size}'


def parse(text: str) -> Topology:
  """The topology of a name: v5e:4x4, v5e-16 or v5litepod-16 (chips), v5p-128 (cores), 2*v5e:16x16 (slices), cpu-8.

  A name with a number means the most cube-like shape of so many chips, which is Cloud TPU's default.

  Raises:
    Problem: there is no such slice; says which there are, and the nearest.
  """
  found = re.fullmatch(r'(?:([1-9]\d*)\*)?([a-z0-9]+)(?:-(\d+)|:(\d+(?:x\d+)*))', text.strip())
  count, kind, number, sides = found.groups() if found else (None,) * 4
  if kind == 'cpu' and number and int(number) and not count:
    return Topology(None, (int(number),))
  chip = chips().get({'v5litepod': 'v5e'}.get(kind, kind))
  if not chip:
    raise Problem(f'--topology={text}: is none; write cpu-8, or as v5e:4x4 or v5e-16, of {", ".join(chips())}, or as '
                  '2*v5e:4x4 for two slices')
  wanted = [int(side) for side in sides.split('x')] if sides else [int(number)]
  size = math.prod(wanted) / (1 if sides else chip.cores_counted)
  matching = [shape for shape in chip.slices if (shape == tuple(wanted) if sides else math.prod(shape) == size)]
  if not matching:
    near = sorted(chip.slices, key=lambda shape: (abs(math.log(math.prod(shape) / max(size, 0.5))), sum(shape)))[:3]
    names = (f'{one.name} ({one.cloud_name})' for one in (Topology(chip, shape) for shape in near))
    few = ', '.join('x'.join(map(str, shape)) for shape in chip.slices[:4])
    raise Problem(f'--topology={text}: {chip.name} has no such slice; it has {few}, ... up to {chip.largest}; the '
                  f'nearest: {", ".join(names)}')
  return Topology(chip, min(matching, key=sum), int(count or 1))


def set_environment():
  """Makes this process one that compiles only; before jax is imported."""
  os.environ.update(QUIET)


def devices(topology: Topology) -> list:
  """The devices of a topology, as meshes are made of; only those of a CPU can run anything.

  CPU devices must have been asked for: jax.config.update('jax_num_cpu_devices', N) before jax's first use.

  Raises:
    Problem: libtpu is not installed.
  """
  import jax
  from jax.experimental import topologies
  if not topology.chip:
    return jax.devices('cpu')[:topology.num_devices]
  if importlib.util.find_spec('libtpu') is None:
    raise Problem(f"--topology={topology.name}: libtpu, which compiles for TPUs, is not installed; on Linux: "
                  "pip install -e '.[tpu]'")
  more = {'num_slices': topology.num_slices} if topology.num_slices > 1 else {}
  if topology.chip.cores > 1:
    more['chip_config_name'] = 'megacore'  # one device a chip on v4 too, as Cloud TPU runs it
  if math.prod(topology.shape) == 1:
    more['chips_per_host_bounds'] = [1, 1, 1]
  name = f"{topology.chip.name}:{'x'.join(map(str, topology.shape))}"
  return list(topologies.get_topology_desc(platform='tpu', topology_name=name, **more).devices)
