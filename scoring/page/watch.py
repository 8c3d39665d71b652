"""The page of a folder, served on loopback while runs go on in it: it asks for what changed, and tapes are read on."""
import http.server
import socketserver
import threading
from urllib.parse import parse_qs, urlsplit

from scoring.page import site
from scoring.page.collect import Collection
from scoring.page.entries import joined, to_json
from scoring.problem import Problem

HOST = '127.0.0.1'


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
  """Serves one collection; a lock lets one request at a time bring it up to date."""
  daemon_threads = True
  allow_reuse_address = True

  def __init__(self, collection: Collection, port: int):
    try:
      super().__init__((HOST, port), Handler)
    except (OSError, OverflowError) as error:
      raise Problem(f'--port={port}: cannot listen on {HOST} ({getattr(error, "strerror", None) or error}); name '
                    'another port, or 0 for any that is free') from None
    self.collection, self.lock = collection, threading.Lock()

  @property
  def address(self) -> str:
    return f'http://{HOST}:{self.server_port}/'

  def changes(self, since: int) -> dict:
    """Rows, and details as JSON, of all that changed after version `since`."""
    with self.lock:
      self.collection.refresh()
      ids = [id_ for id_, version in self.collection.changed.items() if version > since]
      shown = [id_ for id_ in ids if id_ in self.collection.rows]
      return {'version': self.collection.version(), 'problems': self.collection.problems,
              'rows': [self.collection.rows[id_] for id_ in shown],
              'details': {id_: self.collection.details[id_] for id_ in shown},
              'gone': [id_ for id_ in ids if id_ not in self.collection.rows]}

  def page(self, path: str) -> tuple[str, str] | None:
    """(content type, text) of a path; None: there is no such file."""
    with self.lock:
      if path in ('/', '/index.html'):
        return 'text/html', site.html()
      self.collection.refresh()
      if path == '/data.js':
        return 'text/javascript', site.data_js(self.collection, live=True)
      if path == '/details.js':
        return 'text/javascript', site.details_js(self.collection)
    return None

  def handle_error(self, request, client_address):
    """A browser that closes a connection early is no error; anything else is printed as usual."""
    import sys
    if not isinstance(sys.exc_info()[1], ConnectionError):
      super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
  """Answers GET for the page's own files, and for names of this machine only, against DNS rebinding."""
  server_version, sys_version = 'daybreak', ''
  timeout = 30

  def do_GET(self):
    if self.headers.get('Host') not in (f'{name}:{self.server.server_port}' for name in (HOST, 'localhost')):
      self.send_error(403, 'not a name of this server')
      return
    try:
      url = urlsplit(self.path)
      since = int(parse_qs(url.query).get('since', ['0'])[0])
    except ValueError:
      self.send_error(400, 'no address of this server, or since is no version')
      return
    if url.path == '/changes':
      changes = self.server.changes(since)
      texts = {name: joined(value) if name == 'details' else to_json(value) for name, value in changes.items()}
      found = 'application/json', joined(texts)
    else:
      found = self.server.page(url.path)
    if found is None:
      self.send_error(404)
      return
    text = found[1].encode()
    self.send_response(200)
    self.send_header('Content-Type', f'{found[0]}; charset=utf-8')
    self.send_header('Content-Length', str(len(text)))
    self.send_header('Cache-Control', 'no-store')
    self.send_header('X-Content-Type-Options', 'nosniff')
    self.end_headers()
    self.wfile.write(text)

  def log_message(self, format, *args):
    """Requests are not printed: one a second says nothing."""


def serve(root, port: int, announce=print):
  """Serves the page of `root` until Ctrl-C; `announce` gets one line when it listens, and one when it ends.

  Raises:
    Problem: `root` is not a folder, or the port cannot be had.
  """
  collection = Collection(root)
  collection.refresh()
  with Server(collection, port) as server:
    announce(f'page      {server.address} shows {root} and follows it; Ctrl-C ends it')
    try:
      server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
      announce('page      ended')
