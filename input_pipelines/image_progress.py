"""How far a long preparation is, on standard error: a bar on a terminal, elsewhere a line now and then."""
import sys
import time

BAR_SECONDS, LINE_SECONDS = 0.2, 30.0


class Bar:
  """Told of images and bytes as they are done; shows their share, speed, and the time left."""

  def __init__(self, images: int, size: int, what: str = 'writing'):
    self._images, self._bytes, self._what = images, size, what
    self._terminal = sys.stderr.isatty()
    self._done = self._done_bytes = self._width = 0
    self._start = self._shown = time.monotonic()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._terminal and self._width:
      print('\r' + ' ' * self._width, end='\r', file=sys.stderr, flush=True)

  def __call__(self, images: int, size: int = 0):
    self._done, self._done_bytes = self._done + images, self._done_bytes + size
    now = time.monotonic()
    if now - self._shown < (BAR_SECONDS if self._terminal else LINE_SECONDS):
      return
    self._shown = now
    line = self.line(now - self._start)
    if self._terminal:
      self._width = max(self._width, len(line))
      print(f'\r{line:<{self._width}}', end='', file=sys.stderr, flush=True)
    else:
      print(line, file=sys.stderr, flush=True)

  def line(self, seconds: float) -> str:
    """What to show after so many seconds."""
    share = self._done / max(1, self._images)
    text = f'{self._what}: {self._done:,} of {self._images:,} images, {100 * share:.0f} %'
    if self._bytes:
      text += f', {self._done_bytes / 1e6 / max(seconds, 1e-9):.0f} MB/s'
      share = self._done_bytes / self._bytes
    if 0 < share:
      left = round(seconds * (1 - min(1, share)) / share)
      text += f', {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left'
    return text
