"""What a compiled program sends between devices, read off the text of its optimised HLO.

Source of the forms: openxla.org/xla/operation_semantics, and texts that libtpu 0.0.42 and XLA:CPU gave; what is counted
is what the compiler made, not what was asked for. On tori where libtpu has no algorithm of its own for a
reduce-scatter or an all-gather, its text has an all-reduce and a slice, or an all-reduce of parts padded with zeros.
"""
import dataclasses
import math
import re

KINDS = ('all-reduce', 'reduce-scatter', 'all-gather', 'all-to-all', 'collective-permute')
ICI, DCN = 'ici', 'dcn'
_COMPUTATION = re.compile(r'^(?:ENTRY )?%?([\w.\-]+) \(.*\{$')
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?[\w.\-]+ = (\(.*?\)|\S+) ([a-z][\w\-]*)\(')
_CALLED = re.compile(r'\b(?:calls|to_apply|body|condition|branch_computations|true_computation|false_computation)='
                     r'(\{[^}]*\}|%?[\w.\-]+)')


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective operation of a program.

  Attributes:
    kind: of KINDS; over the data centre's network, what libtpu's runtime does there.
    whole_bytes: of the whole array: what each device has after an all-reduce or all-gather, and before a
      reduce-scatter; of a collective-permute and an all-to-all, what each device sends.
    group_size: how many devices take part together.
    loops: how many loops it is inside of.
    network: `ici`, or `dcn` between slices.
  """
  kind: str
  whole_bytes: int
  group_size: int
  loops: int
  network: str = ICI

  @property
  def sent_bytes(self) -> float:
    """What each device sends at least, by an algorithm that keeps all devices as busy."""
    share = (self.group_size - 1) / self.group_size
    return self.whole_bytes * {'all-reduce': 2 * share, 'collective-permute': 1.0}.get(self.kind, share)


def parse(text: str, num_devices: int, num_slices: int = 1) -> list[Collective]:
  """The collectives of a program, each once: of asynchronous pairs the start counts.

  Args:
    text: Compiled.as_text(), of a program partitioned over `num_devices`.
    num_slices: how many slices those are in; decides how many take part in what goes over the data centre's network.
  """
  loops, found, computation = _loops(text), [], ''
  for line in text.splitlines():
    if head := _COMPUTATION.match(line):
      computation = head[1]
      continue
    instruction = _INSTRUCTION.match(line)
    if not instruction:
      continue
    shape, operation = instruction.groups()
    kind, network, size = operation.removesuffix('-start'), ICI, _group_size(line, num_devices)
    if operation == 'send' and (transfer := re.search(r'_xla_megascale_transfer_type="(\w+)"', line)):
      kind, network, size = transfer[1].lower().replace('_', '-'), DCN, num_slices
    if kind not in KINDS:
      continue
    whole = _whole_bytes(kind, operation.endswith('-start'), shape, size) if network == ICI else _sizes(shape)[0]
    if computation.startswith('all-reduce-scatter'):  # a fusion of an all-reduce and a slice, carried out as one
      kind = 'reduce-scatter'
    found.append(Collective(kind, whole, size, loops.get(computation, 0), network))
  return found


def _whole_bytes(kind: str, start: bool, shape: str, group_size: int) -> int:
  """Collective.whole_bytes, from the shape of a result; that of an asynchronous start holds the operands too."""
  sizes = _sizes(shape)
  if kind == 'reduce-scatter':
    return sum(sizes) * group_size
  if start and kind == 'all-gather':
    return sum(sizes) * group_size // (group_size + 1)
  if start and kind == 'collective-permute':
    return sizes[0]
  return sum(sizes)


def _sizes(shape: str) -> list[int]:
  """Bytes of each array in the text of a shape, padding left out."""
  bits = lambda dtype: 8 if dtype == 'pred' else int((re.search(r'\d+', dtype) or [0])[0])
  return [bits(dtype) * math.prod(int(d) for d in dims.split(',') if d) // 8
          for dtype, dims in re.findall(r'\b([a-z]\w*)\[([\d,]*)\]', shape)]


def _group_size(line: str, num_devices: int) -> int:
  """How many devices form a group: listed, as [groups,size]<=[...], or by axes of a mesh."""
  if listed := re.search(r'replica_groups=\{\{([\d,]+)\}', line):
    return listed[1].count(',') + 1
  if iota := re.search(r'replica_groups=\[\d+,(\d+)\]', line):
    return int(iota[1])
  if mesh := re.search(r'replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}', line):
    sides = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
    return math.prod(sides[name] for name in re.findall(r"'([^']+)'", mesh[2]))
  return num_devices


def _loops(text: str) -> dict[str, int]:
  """computation -> how many loops it is inside of."""
  calls, computation = {}, ''
  for line in text.splitlines():
    if head := _COMPUTATION.match(line):
      computation = head[1]
      calls[computation] = set()
    elif computation:
      inside = int(bool(re.search(r'[\s)]while\(', line)))
      for names in _CALLED.findall(line):
        calls[computation] |= {(name, inside) for name in re.findall(r'[\w.\-]+', names)}
  depth, waiting = {}, [(name, 0) for name in calls.keys() - {name for c in calls.values() for name, _ in c}]
  while waiting:
    name, loops = waiting.pop()
    if depth.get(name, -1) < loops:
      depth[name] = loops
      waiting += [(called, loops + inside) for called, inside in calls.get(name, ())]
  return depth
