"""The page of what is under way, cut short, submitted or unlike, on a desk and on a phone, in a real browser."""
import contextlib
import json
import re
import threading
import time
from pathlib import Path

import pytest

from scoring import ledger
from scoring.page import collect, site, watch
from tests import made_sets
from tests.page import browser as browsers
from tests.tapes import HEADER, Story, closing_files
from tests.tapes import record as record_tape

pytestmark = pytest.mark.browser
RESULTS = Path(__file__).resolve().parents[2] / 'results'
PHONE, DESK = {'width': 390, 'height': 844}, {'width': 1440, 'height': 900}
OTHER = {'metric': 'accuracy', 'value': 0.97, 'num_examples': 5_000}  # which no board has


@pytest.fixture(autouse=True)
def _files_are_closed(monkeypatch):
  with closing_files(monkeypatch):
    yield


def run(folder: Path, *values, **header) -> Path:
  folder.mkdir(parents=True)
  record_tape([{'accuracy': value} for value in values], path=folder / 'tape.jsonl', **header)
  return folder


def begin(folder: Path, **header) -> Story:
  """A run that began a minute ago, with one evaluation."""
  folder.mkdir(parents=True)
  story = Story(folder / 'tape.jsonl', start=time.time() - 60, **header)
  return story.set_up().point('run_start', step=0).train(5).eval(1, 0.5)


def make_set(folder: Path, asked: int, *values, missing: int = 0):
  """A set of which some runs are there, one for each list of accuracies, and of which the ledger names more."""
  for number, accuracies in enumerate(values):
    name = ledger.run_name(number)
    command = ['--config=x.py', f'--workdir={folder.name}', f'--runs={asked}', '--runs=1', f'--workdir={name}']
    run(folder / name, *accuracies, command=command)
  for number in range(len(values) + missing):
    ledger.append(folder, run=ledger.run_name(number), event='begin')


@pytest.fixture
def open_site(chromium, tmp_path):
  """root, fragment, options -> the page of what is below `root`."""
  with contextlib.ExitStack() as stack:
    def opened(root, fragment='', **options):
      site.write(root, tmp_path / 'site')
      page = stack.enter_context(browsers.watched(chromium, **{'viewport': DESK, **options}))
      page.goto(f'{(tmp_path / "site").as_uri()}/index.html#{fragment}')
      page.wait_for_selector('#entry figure svg' if 'open=' in fragment else '#board table')
      return page
    yield opened


@pytest.fixture
def follow(chromium, tmp_path):
  """fragment -> the page of `tmp_path`, served and followed."""
  with contextlib.ExitStack() as stack:
    def opened(fragment=''):
      server = stack.enter_context(watch.Server(collect.Collection(tmp_path), 0))
      threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True).start()
      stack.callback(server.shutdown)
      page = stack.enter_context(browsers.watched(chromium, own=server.address, viewport=DESK))
      page.goto(f'{server.address}{fragment}')
      page.wait_for_selector('#board table')
      return page
    yield opened


def chosen(page) -> tuple[str, str]:
  tab = page.locator('#tasks [aria-current]').evaluate('one => one.firstChild.textContent')
  return tab, page.locator('[name=goal] :checked').text_content()


WIDE_VALUES = '''all => all.filter(cell => {
  const text = document.createRange(), box = cell.closest('.scroll').getBoundingClientRect();
  text.selectNodeContents(cell);
  const lines = [...text.getClientRects()];
  return cell.clientWidth < 120 || lines.some(line => line.right > box.right || line.left < box.left);
}).map(cell => cell.textContent)'''


@pytest.mark.parametrize('name', ['digits_2core_epyc', 'squad_tiny_2core_epyc', 'cifar10_airbench94_2core_epyc'])
def test_every_fact_can_be_read_on_a_phone(name, open_site):
  task = {'d': 'digits', 's': 'squad', 'c': 'cifar10'}[name[0]]
  page = open_site(RESULTS, f'task={task}&open={name}', viewport=PHONE)
  values = page.locator('#entry .facts td')
  assert values.count() > 40 and values.evaluate_all(WIDE_VALUES) == []


def test_the_tab_that_is_chosen_is_in_sight_on_a_phone(open_site):
  page = open_site(RESULTS, 'task=imagenette', viewport=PHONE)
  def sides():
    box = page.locator('#tasks [aria-current]').bounding_box()
    return box['x'], box['x'] + box['width']
  assert 0 <= sides()[0] < sides()[1] <= PHONE['width']
  page.evaluate('go({task: "cifar10"})')
  assert 0 <= sides()[0] < sides()[1] <= PHONE['width']


def test_targets_that_differ_are_all_drawn(open_site, tmp_path):
  run(tmp_path / 'runs' / 'usual', 0.90, 0.95)
  run(tmp_path / 'runs' / 'strict', 0.91, 0.96, 0.98, target=OTHER)
  page = open_site(tmp_path / 'runs', 'task=cifar10&open=usual|strict')
  page.wait_for_selector('#entry .metrics svg')
  for figure in ('seconds', 'epoch', 'metrics'):
    rules = page.locator(f'#entry figure.{figure} svg g[aria-label=rule]')
    lines = rules.locator('xpath=.//*[local-name()="line"][ancestor-or-self::*/@stroke-dasharray]')
    places = {json.dumps(line) for line in lines.evaluate_all(
        'all => all.map(one => ["x1", "y1"].map(key => one.getAttribute(key)))')}
    assert len(places) == 2, figure
    assert page.locator(f'#entry figure.{figure} .legend li').all_text_contents() == ['target 94 %', 'target 97 %']


CROSSED = '''figure => {
  const boxes = selector => [...figure.querySelectorAll(selector)].map(one => one.getBoundingClientRect());
  const names = [...figure.querySelectorAll('g[aria-label=text] text')].filter(one => one.textContent);
  const marks = boxes('g[aria-label=dot] circle, g[aria-label=rule] line, g[aria-label=line] path');
  const others = [...marks, ...boxes('h3')];
  return names.filter(name => { const box = name.getBoundingClientRect(); return others.some(mark =>
    mark.left < box.right && mark.right > box.left && mark.top < box.bottom && mark.bottom > box.top);
  }).map(one => one.textContent);
}'''


@pytest.mark.parametrize('viewport', [DESK, PHONE], ids=['desk', 'phone'])
def test_no_label_lies_over_data_or_a_line(viewport, open_site):
  entries = 'cifar10_cpu_2core_epyc|cifar10_cpu_9epochs_2core_epyc|digits_2core_epyc'
  page = open_site(RESULTS, f'task=cifar10&open={entries}', viewport=viewport)
  page.wait_for_selector('#entry .metrics svg')
  for figure in ('seconds', 'epoch', 'times', 'metrics'):
    assert page.locator(f'#entry figure.{figure}').evaluate(CROSSED) == [], figure
  shown = page.locator('#entry .metrics svg g[aria-label=text] text').all_text_contents()
  assert [text for text in shown if text] == entries.split('|')


def test_a_submission_has_the_name_of_its_folder(open_site, tmp_path):
  for name in ('ours', 'theirs'):
    make_set(tmp_path / 'all' / name / 'runs', 2, [0.95], [0.96])
    (tmp_path / 'all' / name / 'submission.json').write_text('{}')
  make_set(tmp_path / 'all' / 'other' / 'runs', 2, [0.95], [0.96])  # nobody's submission
  page = open_site(tmp_path / 'all', 'task=cifar10&origin=here')
  assert sorted(page.locator('#board .open').all_text_contents()) == ['ours', 'runs', 'theirs']
  for root in ('ours', 'ours/runs'):
    page = open_site(tmp_path / 'all' / root, 'task=cifar10&origin=here')
    assert page.locator('#board .open').all_text_contents() == ['ours']


def test_a_set_with_a_missing_run_says_why_its_time_is_unknown(open_site, tmp_path):
  make_set(tmp_path / 'all' / 'one', 3, [0.95], [0.96], missing=1)
  make_set(tmp_path / 'all' / 'two', 4, [0.95], [0.96], missing=2)
  page = open_site(tmp_path / 'all', 'task=cifar10&origin=here')
  assert sorted(page.locator('#board td.time').all_text_contents()) == [
      'unknown1 run missing', 'unknown2 runs missing']
  page = open_site(tmp_path / 'all', 'task=cifar10&open=one')
  assert '1 run missing' in page.locator('#entry .card').first.text_content()


def test_an_interval_that_is_cut_says_so(open_site, tmp_path):
  make_set(tmp_path / 'all' / 'set', 2, [0.95], [0.5] * 9 + [0.95])
  page = open_site(tmp_path / 'all', 'task=cifar10&open=set')
  cards = page.locator('#entry .cards').text_content()
  assert re.search(r'95 % interval 0.00 s to \d+ min \d\d s, cut: too few runs', cards), cards


def test_a_set_that_goes_on_says_how_many_runs_were_asked_for(follow, open_site, tmp_path):
  make_set(tmp_path / 'set', 7, [0.95])
  command = ['--config=x.py', '--runs', '7', '--runs=1', '--workdir=y']
  ledger.append(tmp_path / 'set', run='run_001', event='begin')
  begin(tmp_path / 'set' / 'run_001', command=command)
  page = follow('#task=cifar10&origin=here')
  assert page.locator('#board td.runs').all_text_contents() == ['1 of 27 asked for']
  page.get_by_role('button', name='set', exact=True).click()
  page.wait_for_selector('#entry figure svg')
  assert '1 of 27 asked for; 95 %' in page.locator('#entry .cards').text_content()


def test_a_set_that_has_all_its_runs_says_nothing_of_it(open_site, tmp_path):
  made_sets.cifar10(tmp_path / 'all' / 'set')
  page = open_site(tmp_path / 'all', 'task=cifar10&origin=here')
  assert page.locator('#board td.runs').all_text_contents() == ['4 of 5']


@pytest.mark.parametrize('header, view', [
    ({'target': OTHER}, ('CIFAR-10', 'top-1 accuracy ≥ 97 % of 5,000')),
    ({'benchmark': 'digits'}, ('Digits', 'top-1 accuracy ≥ 94 % of 10,000')),
])
def test_watching_opens_on_the_board_of_the_run_that_goes_on(header, view, follow, tmp_path):
  for number in range(3):
    run(tmp_path / f'done_{number}', 0.95)
  story = begin(tmp_path / 'trains', **header)
  page = follow()
  assert chosen(page) == view
  assert page.locator('#board .open').all_text_contents() == ['trains']
  story.finish()
  page.wait_for_selector('#running', state='hidden')
  assert page.locator('#board .open').all_text_contents() == ['trains']  # nobody is moved when it ends


def test_an_address_that_names_a_view_keeps_it_and_a_line_leads_to_what_runs(follow, tmp_path):
  run(tmp_path / 'done', 0.95)
  page = follow('#task=cifar10&origin=here')
  assert not page.locator('#running').is_visible()
  begin(tmp_path / 'trains', benchmark='digits')
  page.wait_for_selector('#running')
  assert page.locator('#running').text_content().startswith('running: trains ')
  assert page.locator('#board .open').all_text_contents() == ['done']
  page.locator('#running a').click()
  page.wait_for_selector('#entry figure.seconds svg')
  assert page.locator('#entry h2').text_content() == 'trains'
  page.keyboard.press('Escape')
  assert page.locator('#board .open').all_text_contents() == ['trains']


def test_a_run_that_was_killed_long_ago_does_not_run(follow, tmp_path):
  run(tmp_path / 'done', 0.95)
  (tmp_path / 'killed').mkdir()
  Story(tmp_path / 'killed' / 'tape.jsonl', start=time.time() - 7200, **HEADER).set_up()
  page = follow()
  assert not page.locator('#running').is_visible() and '#' not in page.url


def test_a_page_that_is_not_served_has_no_line_of_what_runs(open_site, tmp_path):
  begin(tmp_path / 'all' / 'trains')
  assert not open_site(tmp_path / 'all', 'task=cifar10').locator('#running').is_visible()
