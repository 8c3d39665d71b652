"""What a benchmark says on stderr while it measures, so that nobody takes it for one that hangs."""
import sys
import time
from collections.abc import Iterator


def say(text: str):
  print(text, file=sys.stderr, flush=True)


def told(times: int, what: str) -> Iterator[int]:
  """range(times), with a line after each: which it was of how many, and how long it took."""
  for number in range(times):
    start = time.perf_counter()
    yield number
    say(f'{what} {number + 1} of {times}: {time.perf_counter() - start:.1f} s')
