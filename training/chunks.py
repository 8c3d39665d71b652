"""Where the loop looks up: ranges of steps between two events."""
import dataclasses
from collections.abc import Callable, Iterator

NEVER = 2**31 - 1  # a step that no run reaches


@dataclasses.dataclass(frozen=True)
class Cadence:
  """What the launcher decides: it changes the record, never the result.

  Attributes:
    log_every_steps: how often the host looks at the device between evaluations; 0: never.
    checkpoint_every_steps: how often to save besides at the end; None: after each evaluation.
    profile: steps (start, stop) to trace into `profile_dir`.
  """
  log_every_steps: int = 100
  checkpoint_every_steps: int | None = None
  profile: tuple[int, int] | None = None
  profile_dir: str = ''


def chunks(start: int, stop: int, *events: Callable[[int], int]) -> Iterator[tuple[int, int]]:
  """Ranges (first, last) that cover start..stop, cut at each event; an event maps a step to its next one, >= step."""
  while start < stop:
    end = min([stop, *(event(start + 1) for event in events)])
    yield start, end
    start = end


def every(steps: int) -> Callable[[int], int]:
  """The event at each multiple of `steps`; 0 is never."""
  return lambda step: -(-step // steps) * steps if steps else NEVER
