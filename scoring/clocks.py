"""Every rulebook's stopwatch, as a pure function of a tape.

DAWNBENCH: from the start of the process to the first evaluation at or above the target; evaluation and checkpoints do
not count (dawn-bench-entries README and issues 9, 12, 21: loading data and building the model do). MLPERF: from
run_start, before any data are touched, to that evaluation, and nothing may pause it; initialisation beyond 30 minutes
(closed division; 4 hours open) counts too (training_policies, training_rules.adoc). WARM: setting up from data,
training, and the final evaluation, with everything compiled and loaded: what airbench times.
"""
import math
from dataclasses import dataclass

from scoring import tape as tapes
from scoring.problem import Problem

UNTIMED_INIT_SECONDS = {'closed': 30 * 60, 'open': 240 * 60}


@dataclass(frozen=True)
class Clock:
  """Which stretches of a tape a rulebook counts.

  Attributes:
    name: as records print it.
    begin: the event that starts it; `process` is the start of the first process.
    counts: names of the spans that count; None means all but `skips`.
    skips: names of the spans that do not count, lost ones included.
    final_evaluation: whether the evaluation that reaches the target counts although others do not.
    init_limit: whether initialisation beyond the untimed limit counts.
  """
  name: str
  begin: str = 'process'
  counts: frozenset | None = None
  skips: frozenset = frozenset()
  final_evaluation: bool = False
  init_limit: bool = False

  def includes(self, span: tapes.Span) -> bool:
    if self.counts is not None:
      return span.name in self.counts
    return span.name not in self.skips and span.was not in self.skips


DAWNBENCH = Clock('dawnbench', skips=frozenset({'eval', 'checkpoint'}))
DAWNBENCH_WITHOUT_COMPILE = Clock('dawnbench_without_compile', skips=frozenset({'eval', 'checkpoint', 'compile'}))
MLPERF = Clock('mlperf', begin='run_start', init_limit=True)
WARM = Clock('warm', counts=frozenset({'data_init', 'train'}), final_evaluation=True)
CLOCKS = (DAWNBENCH, DAWNBENCH_WITHOUT_COMPILE, MLPERF, WARM)


def evaluations(events) -> list[dict]:
  """The evaluations that count, in order: their stop events, superseded ones left out."""
  return [e for e in tapes.effective(events) if e['event'] == 'eval' and e.get('edge') == 'stop']


def reached(events) -> dict | None:
  """The stop event of the first evaluation at or above the target, or None."""
  target = events[0]['target']
  for evaluation in evaluations(events):
    value = evaluation['metrics'].get(target['metric'], math.nan)
    if math.isfinite(value) and value >= target['value']:
      return evaluation
  return None


def seconds(events, clock: Clock, until: str = 'target_reached') -> float | None:
  """Seconds on `clock` until the target was reached (None if it was not), or until the `end` of the tape.

  Raises:
    Problem: `until` names no such moment.
  """
  if until == 'target_reached':
    final = reached(events)
    if final is None:
      return None
    end = final['time']
  elif until == 'end':
    final, end = (evaluations(events) or [None])[-1], events[-1]['time']
  else:
    raise Problem(f"until={until!r}: a clock stops at 'target_reached' or at 'end'")
  return seconds_at(events, clock, end, final)


def seconds_at(events, clock: Clock, end: float, final: dict | None = None) -> float | None:
  """Seconds on `clock` at Unix time `end`; None where the clock had not started. `final`: an evaluation to count."""
  begin = next((e['time'] for e in events if e['event'] == clock.begin), None)
  if begin is None or begin > end:
    return None
  total = 0.0
  for span in tapes.spans(events):
    counted = clock.includes(span) or (clock.final_evaluation and final is not None and span.name == 'eval'
                                       and span.stop == final['time'])
    if counted:
      total += max(0.0, min(span.stop, end) - max(span.start, begin))
  if clock.init_limit:
    limit = UNTIMED_INIT_SECONDS[events[0].get('division', 'closed')]
    total += max(0.0, begin - events[0]['time'] - limit)
  return total


def seconds_by_span(events) -> dict[str, float]:
  """Wall seconds by span name, from the first process's start to the last event; they sum to the wall time."""
  totals = {}
  for span in tapes.spans(events):
    totals[span.name] = totals.get(span.name, 0.0) + span.seconds
  return totals


def goodput(events) -> dict[str, float]:
  """Each span's share of the wall time; `train` is the goodput, the rest says where the time went instead."""
  totals = seconds_by_span(events)
  wall = sum(totals.values())
  return {name: spent / wall for name, spent in totals.items()} if wall else {}
