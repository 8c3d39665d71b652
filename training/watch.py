"""What process 0 of a pod has heard of each process, and what it concludes: one is lost, or nothing moves."""
import collections
import json
import time
from collections.abc import Callable

BEAT_SECONDS = 1.0
BROKEN_BEATS = 5  # once a collective has failed somewhere, whoever misses so many beats is taken for dead
SETTING_UP = ('start', 'import', 'init', 'compile')  # takes longer than any chunk, and says nothing of a chunk's time
RESUMES = 'the same command resumes from the last checkpoint'


def names(processes: list[int]) -> str:
  """`process 1` or `processes 1, 2`."""
  return f'process{"es" if len(processes) > 1 else ""} {", ".join(map(str, processes))}'


class Watch:
  """Looks at the beats of all processes.

  Args:
    count: how many processes.
    timeout_seconds: how long one may be silent before it counts as lost.
    stall_seconds: how long nothing may move before it is reported; three times the longest pause so far, if longer.
    report: (processes, what they are at, step, seconds), called for a stall, and again each time it has doubled.
    now: () -> seconds; tests pass simulated time.
  """

  def __init__(self, count: int, timeout_seconds: float, stall_seconds: float, report: Callable, now=time.monotonic):
    self.count, self.timeout_seconds, self.stall_seconds, self.report = count, timeout_seconds, stall_seconds, report
    self.now, start = now, now()
    self.beat, self.heard = {}, collections.defaultdict(lambda: start)
    self.position, self.moved, self.longest, self.reported = {}, start, 0.0, 0.0

  def look(self, beats: dict[int, str]) -> str | None:
    """The verdict if a process is lost; reports stalls.

    beats: process -> JSON of (number of the beat, ticks, what it is at, step, whether a collective failed there).
    """
    now, told = self.now(), {number: json.loads(text) for number, text in beats.items()}
    for number, (beat, *position, _) in told.items():
      if self.beat.get(number) != beat:
        self.beat[number], self.heard[number] = beat, now
      if self.position.get(number) != position:
        if number in self.position and position[1] not in SETTING_UP and self.position[number][1] not in SETTING_UP:
          self.longest = max(self.longest, now - self.moved)
        self.position[number], self.moved, self.reported = position, now, 0.0
    broken = any(failed for *_, failed in told.values())
    limit = BROKEN_BEATS * BEAT_SECONDS if broken else self.timeout_seconds
    lost = [n for n in range(self.count) if now - self.heard[n] > limit]
    if lost:
      _, where, step = self.position.get(lost[0], (0, 'start', 0))
      return (f'{names(lost)} of {self.count} lost: not heard of for '
              f'{now - self.heard[lost[0]]:.0f} s, last at step {step} ({where}); killed, or the machine is gone '
              f'or too busy; {RESUMES}')
    self._look_for_stall(now - self.moved)
    return None

  def _look_for_stall(self, still: float):
    patience = self.stall_seconds * (10 if any(where in SETTING_UP for _, where, _ in self.position.values()) else 1)
    if len(self.position) < self.count or still <= max(patience, 3 * self.longest, 2 * self.reported):
      return
    self.reported = still
    least = min(ticks for ticks, *_ in self.position.values())
    who = [n for n, (ticks, *_) in sorted(self.position.items()) if ticks == least]
    _, where, step = self.position[who[0]]
    self.report(who, where, step, still)
