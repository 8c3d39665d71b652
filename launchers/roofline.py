"""From the numbers of compiled programs to what a submitter asks: does it fit, how long does a step take at best.

Every time here is an estimate from peak rates, not a measurement.
"""
import dataclasses
from collections import Counter

from launchers.collectives import DCN, ICI, KINDS, Collective
from launchers.topology import Chip, Topology
from scoring import cost

ASSUMPTIONS = (
    'a term is work / peak rate of a chip (launchers/chips.csv); a step takes at least its largest term, and their sum '
    'if nothing overlaps',
    'every FLOP at the bf16 peak; every byte that XLA counts as accessed from HBM, although some stay on the chip',
    'collectives keep every link busy, both ways; a slice without wrap-around links has half of that or less',
    'the time to target is the whole schedule, an upper bound in steps; input, compilation and checkpoints are left '
    'out')


@dataclasses.dataclass(frozen=True)
class Program:
  """What one run of a program needs and does on each device.

  Attributes:
    name: `train 224`, `eval 224`.
    runs: how often a whole schedule runs it.
    repeats: how often it runs the body of its innermost loop, which XLA counts once: over microbatches.
    depth: how many loops its microbatches, or all of a step, are inside of.
    numbers: of compile_cache.measure.
  """
  name: str
  runs: int
  repeats: int
  depth: int
  numbers: dict

  @property
  def needed_bytes(self) -> int | None:
    """Memory: arguments, outputs that do not take the place of arguments, temporaries, code; None: not known."""
    if gone := self.numbers.get('out_of_memory'):
      return gone['needed_bytes']
    memory = self.numbers['memory_bytes']
    return sum(memory.values()) - 2 * memory['alias']

  @property
  def collectives(self) -> list[Collective]:
    return [Collective(**one) for one in self.numbers['collectives']]

  def times(self, one: Collective) -> int:
    """How often a run carries out a collective."""
    return self.repeats if one.loops > self.depth else 1

  def fits(self, chip: Chip | None) -> bool:
    """Whether XLA could place it, and what it needs is no more than a chip has."""
    return 'out_of_memory' not in self.numbers and (chip is None or self.needed_bytes <= chip.capacity_bytes)

  def by_kind(self) -> dict[str, dict]:
    """kind -> {count, in_loops: of them inside loops, bytes: of whole arrays}, and `dcn` for those between slices."""
    table = {}
    for kind in (*KINDS, DCN):
      ours = [one for one in self.collectives if (one.network if one.network == DCN else one.kind) == kind]
      table[kind] = {'count': len(ours), 'in_loops': sum(one.loops > 0 for one in ours),
                     'bytes': sum(one.whole_bytes for one in ours)}
    return table

  def terms(self, chip: Chip) -> dict[str, float]:
    """Seconds of compute, HBM and networks, each by itself."""
    sent = Counter()
    for one in self.collectives:
      sent[one.network] += one.sent_bytes * self.times(one)
    return {'compute': self.numbers['flops'] * self.repeats / (chip.bf16_tflops * 1e12),
            'hbm': self.numbers['bytes_accessed'] * self.repeats / (chip.hbm_gb_per_second * 1e9),
            'ici': sent[ICI] / (chip.ici_gb_per_second * 1e9), 'dcn': sent[DCN] / (chip.dcn_gb_per_second * 1e9)}


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Of a whole schedule: (least, most) seconds, and dollars at the on-demand price of all chips, None without one."""
  seconds: tuple[float, float]
  usd: tuple[float, float] | None
  price: dict | None


def bounds(terms: dict[str, float]) -> tuple[float, float]:
  """(least, most) seconds: everything overlaps, nothing does."""
  return max(terms.values()), sum(terms.values())


def estimate(programs: list[Program], topology: Topology) -> Estimate | None:
  """Time to target at most: all steps and evaluations of the schedule; None where a program does not fit, or on CPU."""
  if not topology.chip or not all(program.fits(topology.chip) for program in programs):
    return None
  each = [[seconds * program.runs for seconds in bounds(program.terms(topology.chip))] for program in programs]
  seconds = tuple(map(sum, zip(*each)))
  price = cost.price_for({'device_kind': topology.chip.device_kind, 'device_count': topology.num_devices})
  usd = tuple(cost.cost_usd(s, price) for s in seconds) if price else None
  return Estimate(seconds, usd, price)
