"""What the core needs to know of a task: a few pure functions, an optimizer, its data and a target."""
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import optax

from input_pipelines.source import Resident, Shape, Streamed
from scoring.problem import Problem

# A batch holds the arrays of its split's spec, and for each row `index` (int32, the record; -1 is padding), `epoch`
# (int32) and `mask` (bool, false for padding), which resident data get from the core and streamed data bring along.
Batch = Mapping[str, Any]
Variables = Mapping[str, Any]
Sums = Mapping[str, tuple[Any, Any]]  # name -> (sum, count)


class Keys(NamedTuple):
  """Random keys for each row of a batch, functions of the record and never of where it stands.

  record: key [B] from (seed, record index), the same in every epoch; view: key [B] from (seed, record index, epoch).
  """
  record: Any
  view: Any


@dataclass(frozen=True)
class Target:
  """When a task counts as learned, and when to look.

  Attributes:
    metric: a name in what `Task.evaluate` returns.
    value: reached at or above it.
    num_examples: how many examples an evaluation must have counted; another count is an error.
    every_steps, offset_steps: evaluate after offset + k * every updates (k >= 1, or k >= 0 with an offset), and after
      the last.
    stop: `first_hit` ends the run when the target is reached; `end` finishes the schedule.
  """
  metric: str
  value: float
  num_examples: int
  every_steps: int
  offset_steps: int = 0
  stop: str = 'first_hit'

  def __post_init__(self):
    if self.every_steps < 1 or self.offset_steps < 0:
      raise Problem(f'evaluation every {self.every_steps} steps, offset {self.offset_steps}: at least 1 and 0, please')
    if self.stop not in ('first_hit', 'end'):
      raise Problem(f"stop={self.stop!r}: choose 'first_hit' or 'end'")

  def next_evaluation(self, step: int) -> int:
    """The first evaluation after `step` updates or more, at least 1."""
    step = max(step, 1) - self.offset_steps
    return self.offset_steps + max(-(-step // self.every_steps), 0 if self.offset_steps else 1) * self.every_steps


class Task:
  """A task to train: subclass it, set the attributes, override what differs.

  Attributes:
    benchmark: short name; it picks the boards and rules that records are made for.
    model_name: for records.
    target: Target.
    num_steps: updates in the whole schedule.
    optimizer: an optax transformation; `hyperparameters` is what it was built from, under MLPerf's log keys.
    data: {'train': Resident | Streamed, 'eval': Resident | Streamed}.
    tricks: name -> value, what a reader of the record must know (test-time augmentation, extra data, ...).
    shard_optimizer_state: whether each device keeps, and updates, only its part of the optimizer's state.

  The functions are pure and jitted; what they need of the config they close over, except the seed, which reaches
  them as keys, so that one compiled program serves all seeds.
  """
  benchmark: str
  model_name: str
  target: Target
  num_steps: int
  optimizer: optax.GradientTransformation
  hyperparameters: Mapping[str, float | int | str] = {}
  data: Mapping[str, Resident | Streamed]
  tricks: Mapping[str, Any] = {}
  shard_optimizer_state: bool = False
  # (variables, sample) -> variables, or None: set-up that looks at the data (e.g. whitening filters), after run_start.
  # sample: a resident split's arrays [N, ...], or a streamed one's first batch.
  init_from_data: Callable[[Variables, Batch], Variables] | None = None
  # variables -> variables, numpy on the host, before run_start: what a file brings along (pretrained weights, vectors).
  import_variables: Callable[[Variables], Variables] | None = None

  def init(self, key) -> Variables:
    """{'params': ..., and any other collection, which becomes the model state}; looks at no data."""
    raise NotImplementedError

  def loss(self, params, model_state, batch: Batch, key) -> tuple[Any, tuple[Any, Sums]]:
    """(mean loss over the batch as a float32 scalar, (the model state, changed or as it came, and metrics as Sums))."""
    raise NotImplementedError

  def evaluate(self, variables: Variables, batch: Batch) -> Any:
    """What `finish` needs of one batch, by default Sums; rows with a false `mask` must count for nothing."""
    raise NotImplementedError

  def prepare(self, batch: Batch, keys: Keys, shape: Shape) -> Batch:
    """A training batch as the loss wants it: normalised, augmented, resized to `shape`."""
    del keys, shape
    return batch

  def after_update(self, state):
    """The state after each update, e.g. with averages of parameters and batch statistics kept in its model state."""
    return state

  def eval_variables(self, state) -> Variables:
    """The variables to evaluate, e.g. the averages."""
    return {'params': state.params, **state.model_state}

  def serve(self, variables: Variables, *, fold: bool):
    """serving.served.Served: what `variables`, those to evaluate, answer to the evaluation split, sample by sample.

    fold: whether normalisations, biases and activations are within what comes before them, which rounds otherwise than
      training's evaluation.
    """
    raise Problem(f'{self.benchmark}: has no inference yet; give its Task a method `serve`')

  def finish(self, outputs: Iterator[Any]) -> Sums:
    """Joins the outputs of all evaluation batches, numpy on the host, in order; by default adds Sums up."""
    totals = {}
    for sums in outputs:
      for name, (total, count) in sums.items():
        before = totals.get(name, (0.0, 0))
        totals[name] = (before[0] + float(total), before[1] + int(count))
    return totals
