"""The page as text: one HTML file with its scripts and styles inside, and its data beside it.

Data are JSON in which no `<` is left, and the page puts them into the document as text only, so that no name of a run
can become markup. A policy in the page lets run its own scripts, by their digests, and its data; it asks nothing of any
network, which is why it works from a disk.
"""
import base64
import datetime
import hashlib
import re
from pathlib import Path

from scoring import clocks, record
from scoring.page import history
from scoring.page.collect import Collection
from scoring.page.entries import joined, to_json
from scoring.problem import Problem

FOLDER = Path(__file__).resolve().parent
FILES = ('details.js', 'data.js', 'index.html')
SCRIPTS = ('vendor/d3.min.js', 'vendor/plot.min.js', 'format.js', 'charts.js', 'entry.js', 'board.js', 'page.js')
TASKS = {'cifar10': 'CIFAR-10', 'imagenet': 'ImageNet', 'squad': 'SQuAD', 'bert_pretraining': 'BERT pre-training',
         'digits': 'Digits', 'imagenette': 'Imagenette'}  # others by the name that their tapes have
CLOCKS = {  # name -> (label, what it counts)
    'dawnbench': ('DAWNBench', 'from the start of the process; evaluation and checkpoints do not count'),
    'dawnbench_without_compile': ('DAWNBench without compilation', 'the same, and compilation does not count either'),
    'mlperf': ('MLPerf', 'from the first touch of the data; everything counts'),
    'warm': ('Warm', 'training and the final evaluation, with everything compiled and loaded')}


def data(collection: Collection, *, live: bool = False) -> dict:
  """What the page reads at once: all rows, history first."""
  return {'notice': record.NOTICE, 'made': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
          'live': live, 'version': collection.version(), 'tasks': TASKS,
          'clocks': [{'name': c.name, 'label': CLOCKS[c.name][0], 'what': CLOCKS[c.name][1]} for c in clocks.CLOCKS],
          'problems': collection.problems, 'rows': [*history.rows(), *collection.rows.values()]}


def data_js(collection: Collection, *, live: bool = False) -> str:
  return f'(window.daybreak ??= {{}}).data = {to_json(data(collection, live=live))};\n'


def details_js(collection: Collection) -> str:
  """What the page reads when the first row is opened: points, spans and facts of every run."""
  return f'(window.daybreak ??= {{}}).details = {joined(collection.details)};\n'


def html() -> str:
  """The page without its data; the same for all of them."""
  scripts = [(FOLDER / name).read_text(encoding='utf-8') for name in SCRIPTS]
  assert not any('</script' in text or '<!--' in text for text in scripts)
  digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
  parts = {'style': (FOLDER / 'page.css').read_text(encoding='utf-8'), 'notice': record.NOTICE,
           'digests': ' '.join(f"'sha256-{digest}'" for digest in digests),
           'library': ''.join(f'<script>{text}</script>\n' for text in scripts[:-1]),
           'page': f'<script>{scripts[-1]}</script>'}
  template = (FOLDER / 'template.html').read_text(encoding='utf-8')
  return re.sub(r'\{\{(\w+)\}\}', lambda found: parts[found[1]], template)


def _refuse_others(output: Path):
  """Problem if a folder holds what is no page: nobody wants three files among others, or others' overwritten."""
  try:
    others = sorted(path.name for path in output.iterdir() if path.name not in FILES)
  except OSError:
    return  # it is not there yet, or is no folder of ours: writing will say so
  if others:
    raise Problem(f'{output}: holds {others[0]}, which is no part of a page; name an --output that is new, or that '
                  'holds a page and nothing else')


def write(root, output) -> tuple[Path, Collection]:
  """Writes the page of all runs at or below `root` into `output`: (its index.html, what it shows).

  Raises:
    Problem: there is nothing to show, or `output` cannot be written, or holds what is no page.
  """
  output = Path(output)
  _refuse_others(output)
  collection = Collection(root)
  collection.refresh()
  if not collection.rows:
    empty = [f'{path}: has no whole line; restore it' for path in collection.empty()]
    problems = [*collection.problems.values(), *empty]
    why = '; '.join(problems) or 'no tape.jsonl and no ledger.jsonl at or below it'
    raise Problem(f'{root}: there is no run to show ({why}); train one, or name another --workdir')
  for name, text in zip(FILES, (details_js(collection), data_js(collection), html())):
    record.write_text(output / name, text)
  return output / 'index.html', collection
