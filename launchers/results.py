"""Makes the tables of published runs anew, from their tapes: in results/README.md and in README.md.

  python -m launchers.results            writes summaries and tables (make results)
  python -m launchers.results --check    changes nothing; exit status 1 if something is stale

A new folder in results/ needs words of its own in results/README.md, and a marker below them:
<!-- results: NAME --> and, on the next line, <!-- end of results -->. The rest is generated.
"""
from pathlib import Path

from absl import flags

from launchers import command
from scoring import published
from scoring import tape as tapes
from scoring.problem import counted

FLAGS = flags.FLAGS
flags.DEFINE_bool('check', False, 'only say what is stale')
flags.DEFINE_string('results_dir', str(tapes.ROOT / 'results'), 'folder of published runs, with a README.md')
flags.DEFINE_multi_string('page', [str(tapes.ROOT / 'README.md')], 'another page with tables of them; repeatable')


def main() -> int:
  results = Path(FLAGS.results_dir).expanduser()
  pages = [results / 'README.md', *(Path(page).expanduser() for page in FLAGS.page)]
  stale = published.stale(results, pages, write=not FLAGS.check)
  for line in stale:
    print(line + ('; make results' if FLAGS.check else ': made anew'))
  missing = published.unmentioned(results)
  for line in missing:
    command.fail(line)
  print(f'{counted(len(published.folders(results)), "folder")}, {len(stale)} stale')
  return command.ERROR if missing or (stale and FLAGS.check) else 0


if __name__ == '__main__':
  command.script(main, __doc__)
