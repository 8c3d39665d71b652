"""One file from the network: its size and sha256 are known before, and enforced as it comes."""
import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

from scoring.problem import Problem

TIMEOUT_SECONDS = 30  # without a byte
CHUNK_BYTES = 1 << 20


def fetch(url: str, file: Path, *, size: int, sha256: str, otherwise: str):
  """Downloads `url`, of `size` bytes, into `file`; says on a terminal how far it is.

  otherwise: what a person can do instead, for the end of an error message.

  Raises:
    Problem: no network, no such file, cut short, or another file than the one that sha256 names.
    OSError: cannot write.
  """
  digest, received = hashlib.sha256(), 0
  print(f'downloading {url} ({size / 1e6:.0f} MB)', flush=True)
  terminal = sys.stderr.isatty()
  try:
    with open(file, 'wb') as out:
      for chunk in _chunks(url, otherwise):
        out.write(chunk)
        digest.update(chunk)
        received += len(chunk)
        if terminal:
          print(f'\r{received / 1e6:7.0f} MB of {size / 1e6:.0f}', end='', file=sys.stderr, flush=True)
        if received > size:
          break  # whatever this is, it is not what was asked for
  finally:
    if terminal:
      print('\r' + ' ' * 40, end='\r', file=sys.stderr, flush=True)
  if received < size:
    raise Problem(f'{url}: the download ended after {received} of {size} bytes; try again, or {otherwise}')
  if received > size or digest.hexdigest() != sha256:
    found = f'more than {size} bytes' if received > size else f'sha256 {digest.hexdigest()}, not {sha256}'
    raise Problem(f'{url}: came with the wrong content ({found}); something on the way changes it: {otherwise}')


def _chunks(url: str, otherwise: str):
  """The content of `url`, piece by piece; whatever the network does wrong is a Problem."""
  try:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
      while True:
        chunk = response.read(CHUNK_BYTES)
        if not chunk:
          return
        yield chunk
  except urllib.error.HTTPError as error:
    error.close()
    raise Problem(f'{url}: the server answered {error.code} {error.reason}; try later, or {otherwise}') from None
  except (OSError, http.client.HTTPException) as error:  # URLError and TimeoutError are OSErrors
    reason = getattr(error, 'reason', None) or error
    raise Problem(f'{url}: no download ({reason}); check the network, or {otherwise}') from None
