"""The page in a real browser: make test-page."""
import json
import re
import shutil
import threading
import time
from pathlib import Path

import pytest

from scoring import clocks
from scoring.page import collect, site, watch
from tests.page import browser as browsers
from tests.tapes import Story, closing_files
from tests.tapes import record as record_tape

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '<script>alert(1)<\\script><img src=x onerror=alert(2)>'
BOARDS = {'time': 'Training time', 'cost': 'Training cost', 'latency': 'Inference latency', 'price': 'Inference cost'}
PHONE, DESK = {'width': 390, 'height': 844}, {'width': 1440, 'height': 900}


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
  """A site of everything published, and of fixtures: a hostile name, a price, tricks, inference, a run under way."""
  root = tmp_path_factory.mktemp('page')
  with pytest.MonkeyPatch.context() as patch, closing_files(patch):
    shutil.copytree(ROOT / 'results', root / 'runs')
    shutil.rmtree(root / 'runs' / 'page', ignore_errors=True)
    for name, values, header in [
        (HOSTILE, (0.9, 0.95), {'model': HOSTILE, 'config': f"name = r'{HOSTILE}'\n"}),
        ('priced', (0.8, 0.96), {'price': {'name': '--usd_per_hour', 'usd_per_hour': 36.0},
                                 'command': ['--usd_per_hour=36.0'], 'tricks': {'test_time_augmentation': 'x'}}),
    ]:
      (root / 'runs' / name).mkdir()
      record_tape([{'accuracy': v} for v in values], path=root / 'runs' / name / 'tape.jsonl', **header)
    (root / 'runs' / 'under_way').mkdir()
    Story(root / 'runs' / 'under_way' / 'tape.jsonl').set_up().point('run_start', step=0).train(9).eval(1, 0.5)
    for run, scenario, value in [('priced', 'single_stream', 0.95), ('priced', 'server', 0.95),
                                 ('under_way', 'single_stream', 0.5)]:
      inference = root / 'runs' / run / 'inference' / scenario / 'performance' / 'record.json'
      inference.parent.mkdir(parents=True)
      inference.write_text(json.dumps({
          'fixture': True, 'benchmark': 'cifar10', 'model': 'fixture', 'scenario': scenario, 'mode': 'performance',
          'latency_ms': 0.1, 'cost_usd': 1e-8, 'metric': 'accuracy', 'value': value, 'valid': True,
          'hardware': 'fixture'}))
  site.write(root / 'runs', root / 'site')
  return root / 'site'


@pytest.fixture
def open_page(chromium, folder):
  """fragment, viewport -> a page of the site, and checks at the end that it was quiet."""
  import contextlib
  with contextlib.ExitStack() as stack:
    def opened(fragment='', viewport=DESK, **options):
      page = stack.enter_context(browsers.watched(chromium, viewport=viewport, **options))
      page.goto(f'{folder.as_uri()}/index.html#{fragment}')
      page.wait_for_selector('#board table, #board .empty')
      return page
    yield opened


def names(page):
  return page.locator('#board tbody .open').all_text_contents()


def column(page, name):
  return page.locator(f'#board tbody td.{name}').all_text_contents()


def expected(folder, task, board, goal, clock) -> set:
  """Names of the rows that a board must show, by a reading of its data of our own."""
  rows = json.loads((folder / 'data.js').read_text().partition(' = ')[2].rstrip(';\n'))['rows']
  found = []
  for row in rows:
    for one in row['goals']:
      if row['task'] != task or (one['metric'], one['value'], one['of']) != goal:
        continue
      value = {'time': lambda g: g['seconds'][clock], 'cost': lambda g: g['cost'][clock],
               'latency': lambda g: g['latency_ms'], 'price': lambda g: g['usd_per_item']}[board]
      measured = ('seconds' in one) == (board in ('time', 'cost')) and row.get('scenario') != 'server'
      ours = row['kind'] in ('run', 'set') and board == 'time'
      if measured and (ours or value(one) is not None):
        found.append(row['name'])
  return sorted(found)


DAWNBENCH = {'cifar10': ('accuracy', 0.94, 10_000), 'imagenet': ('top5_accuracy', 0.93, 50_000),
             'squad': ('f1', 0.75, 10_570)}


@pytest.mark.parametrize('board', BOARDS)
@pytest.mark.parametrize('task', DAWNBENCH)
def test_each_board_that_dawnbench_had_renders_its_rows(task, board, open_page, folder):
  page = open_page(f'task={task}&board={board}')
  assert page.locator('#boards [aria-current]').text_content() == BOARDS[board]
  found = expected(folder, task, board, DAWNBENCH[task], 0)
  assert len(found) >= 3 and sorted(names(page)) == found
  assert page.locator('#overview svg circle, #overview svg path').count() >= len(found) / 2
  assert 'DAWNBench closed in 2020' in page.locator('#explain').text_content()
  assert 'Not verified by MLCommons' in page.locator('#explain').text_content()


@pytest.mark.parametrize('task, goal, clock', [
    ('imagenet', ('accuracy', 0.759, 50_000), 2), ('bert_pretraining', ('mlm_accuracy', 0.72, 10_000), 2),
    ('digits', ('accuracy', 0.98, 364), 0), ('imagenette', ('accuracy', 0.6, 600), 0),
    ('squad', ('f1', 0.5, 10_570), 3),
])
def test_other_targets_and_clocks_have_their_rows(task, goal, clock, open_page, folder):
  key = ':'.join(map(str, goal))
  page = open_page(f'task={task}&goal={key}&clock={clocks.CLOCKS[clock].name}')
  found = expected(folder, task, 'time', goal, clock)
  assert found and sorted(names(page)) == found


def test_a_model_below_the_target_has_no_rank_for_its_latency(open_page):
  page = open_page('task=cifar10&board=latency')
  rows = page.locator('#board tr.ours')
  assert rows.locator('td.rank').all_text_contents() == ['1', '–']
  assert 'below the target' in rows.last.text_content() and 'priced' in rows.first.text_content()


def test_mlperf_s_history_comes_with_its_own_clock(open_page):
  page = open_page('task=imagenet')
  page.select_option('[name=goal]', label='top-1 accuracy ≥ 75.9 % of 50,000')
  assert page.locator('[name=clock]').input_value() == 'mlperf'
  assert page.locator('#board tr').filter(has_text='MLPerf history').count() == 7


def test_history_is_marked_as_history(open_page):
  page = open_page('task=cifar10')
  for row in page.locator('#board tbody tr').all():
    is_history = 'history' in row.get_attribute('class')
    assert ('DAWNBench history' in row.text_content()) == is_history
  page.get_by_role('button', name='davidcpage_resnet9_1v100').first.click()
  text = page.locator('#entry', has_text='not verified again').text_content()  # which waits for the entry's data
  assert 'closed in 2020' in text
  assert page.locator('#entry a').get_attribute('href').startswith('https://github.com/davidcpage')


def test_filters_filter(open_page):
  page = open_page('task=cifar10')
  everything = len(names(page))
  page.select_option('[name=device]', 'V100')
  assert set(t.split('V100')[0] for t in column(page, 'hardware')) <= {'', '4 × ', '8 × '}
  few = len(names(page))
  page.check('[name=single]')
  assert 0 < len(names(page)) < few < everything and not any('×' in text for text in column(page, 'hardware'))
  page.click('#reset')
  assert len(names(page)) == everything and not page.is_checked('[name=single]')
  page.select_option('[name=tricks]', 'test_time_augmentation')
  assert set(column(page, 'tricks')) and all('test time augmentation' in text for text in column(page, 'tricks'))
  page.select_option('[name=tricks]', 'none')
  assert set(column(page, 'tricks')) == {'none declared'}
  page.select_option('[name=tricks]', '')
  page.fill('[name=from]', '2019-01-01')
  page.fill('[name=to]', '2019-12-31')
  assert names(page) and all(text.startswith('2019') for text in column(page, 'date'))
  page.click('#reset')
  page.select_option('[name=origin]', 'here')
  assert not page.locator('#board tr.history').count() and page.locator('#board tr.ours').count() >= 6
  page.check('[name=reached]')
  assert 'not reached' not in column(page, 'time')
  page.click('#reset')
  page.locator('[name=search]').press_sequentially('kakao 4v100')  # letter by letter: the field keeps the focus
  assert names(page) == ['kakaobrain_custom-resnet9_4v100-braincloud_pytorch']
  page.fill('[name=search]', 'nothing is called this')
  assert page.locator('#board .empty').count() == 1 and '0 of' in page.locator('#count').text_content()


def test_sorting_sorts_and_says_so(open_page):
  page = open_page('task=cifar10')
  assert page.locator('#board th.time').get_attribute('aria-sort') == 'ascending'
  ranks = [int(text) for text in column(page, 'rank') if text.isdigit()]
  assert ranks == list(range(1, len(ranks) + 1))
  for order in ('ascending', 'descending'):
    page.locator('#board th.date button').click()
    dates = column(page, 'date')
    assert dates == sorted(dates, reverse=order == 'descending')
    assert page.locator('#board th.date').get_attribute('aria-sort') == order
    assert page.evaluate('document.activeElement.dataset.sort') == 'date'  # a keyboard stays where it was
  page.locator('#board th.result button').click()
  results = [float(text.split()[0]) for text in column(page, 'result') if text[0].isdigit()]
  assert results == sorted(results)
  assert column(page, 'rank') != sorted(column(page, 'rank'))  # the rank stays that of the board


def test_a_row_opens_its_trajectories_facts_and_command(open_page):
  page = open_page('task=digits')
  page.get_by_role('button', name='digits_2core_epyc').click()
  page.wait_for_selector('#entry .spans svg')
  for figure in ('seconds', 'epoch'):
    lines = page.locator(f'#entry figure.{figure} svg g[aria-label=line] path')
    assert lines.count() == 20
    assert page.locator(f'#entry figure.{figure} .legend').get_by_text('target 98 %').count() == 1
  assert page.locator('#entry .spans svg g[aria-label=bar] rect').count() >= 20 * 7
  assert page.locator('#entry .times svg circle[r="3.5"]').count() == 20
  assert page.locator('#entry .metrics svg circle[r="3.5"]').count() == 20
  assert page.locator('#entry tbody tr', has_text='run_0').count() == 20
  command = page.locator('#entry .command pre').text_content()
  assert command.endswith('python -m launchers.train --config=references/cifar/configs/digits.py '
                          '--workdir=runs/digits20 --runs=20')
  assert re.match(r'git checkout [0-9a-f]{40}\n', command)
  facts = page.locator('#entry .facts').text_content()
  assert 'hyperparameters.opt name' in facts and 'adamw' in facts and 'AMD EPYC' in facts
  assert '20 of 20' in page.locator('#entry .cards').text_content()
  before = page.locator('#entry figure.seconds svg').inner_html()
  page.select_option('#entry-clock', 'warm')
  page.wait_for_selector('#entry figure.seconds h3:has-text("Warm clock")')
  assert page.locator('#entry figure.seconds svg').inner_html() != before
  page.keyboard.press('Escape')
  assert not page.locator('#entry').is_visible() and 'open=' not in page.url


def test_a_dot_opens_its_entry(open_page):
  page = open_page('task=cifar10&origin=here')
  dot = page.locator('#overview svg g[aria-label=dot] > *').first
  dot.scroll_into_view_if_needed()
  box = dot.bounding_box()
  page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
  page.wait_for_selector('#overview svg g[aria-label=tip] text')
  page.mouse.click(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
  page.wait_for_selector('#entry[open]')
  assert page.locator('#entry h2').text_content() in names(page)


def test_a_run_lists_its_inference_records(open_page):
  page = open_page('task=cifar10&open=priced')
  page.wait_for_selector('#entry figure.seconds svg')
  text = page.locator('#entry section', has_text='Inference with its parameters').first.text_content()
  assert 'single stream' in text and 'server' in text and '0.1 ms' in text and '95.00 %' in text


def test_an_address_restores_the_view_and_back_goes_back(open_page):
  page = open_page('task=cifar10&device=V100&single=1&sort=date&open=cifar10_cpu_2core_epyc')
  page.wait_for_selector('#entry figure.seconds svg')
  assert page.is_checked('[name=single]') and page.locator('[name=device]').input_value() == 'V100'
  page.locator('#entry .close').click()
  assert not page.locator('#entry').is_visible()
  page.go_back()
  page.wait_for_selector('#entry[open]')


def test_entries_are_compared(open_page):
  page = open_page('task=cifar10')
  for name in ('cifar10_cpu_2core_epyc', 'cifar10_airbench94_2core_epyc'):
    page.get_by_role('checkbox', name=f'Compare {name}', exact=True).check()
  page.locator('#compare').get_by_role('button', name='Compare').click()
  page.wait_for_selector('#entry figure.epoch svg')
  assert page.locator('#entry h2').text_content() == '2 entries compared'
  assert 'not the same in all: the tricks.' in page.locator('#entry .problems').text_content()
  assert len(set(page.locator('#entry figure.epoch svg circle').evaluate_all(
      'all => all.map(one => getComputedStyle(one).fill)'))) == 2
  assert 'config.optimizer' in page.locator('#entry .facts').text_content()
  assert 'config.dataset' not in page.locator('#entry .facts').text_content()  # the same in both


def test_a_hostile_name_is_text(open_page):
  page = open_page('task=cifar10')
  assert HOSTILE in names(page)
  page.locator('.open', has_text='alert(1)').click()
  page.wait_for_selector('#entry figure.seconds svg')
  assert page.locator('#entry h2').text_content() == HOSTILE
  assert HOSTILE in page.locator('#entry pre').last.text_content()
  assert page.locator('img').count() == 0 and page.locator('script').count() == len(site.SCRIPTS) + 2


def test_it_can_be_used_without_a_mouse(open_page):
  page = open_page('task=digits')
  for _ in range(60):
    page.keyboard.press('Tab')
    if page.evaluate('document.activeElement.className') == 'open':
      break
  else:
    raise AssertionError('Tab never came to a row')
  page.keyboard.press('Enter')
  page.wait_for_selector('#entry figure.spans svg')
  assert page.evaluate('document.getElementById("entry").contains(document.activeElement)')
  page.keyboard.press('Escape')
  assert not page.locator('#entry').is_visible()
  unnamed = page.evaluate('''[...document.querySelectorAll("button, input, select, a")].filter(one =>
    !(one.textContent.trim() || one.getAttribute("aria-label") || one.closest("label"))).length''')
  assert unnamed == 0


@pytest.mark.parametrize('fragment', [
    'task=cifar10', 'task=imagenet&board=latency', 'task=digits&open=digits_2core_epyc',
    'task=cifar10&open=cifar10_cpu_2core_epyc|cifar10_airbench94_2core_epyc',
])
def test_a_phone_needs_no_sideways_scrolling(fragment, open_page):
  page = open_page(fragment, viewport=PHONE)
  if 'open=' in fragment:
    page.wait_for_selector('#entry figure svg')
    assert page.evaluate('(d => d.scrollWidth <= d.clientWidth)(document.getElementById("entry"))')
  assert page.evaluate('document.documentElement.scrollWidth') <= PHONE['width']
  assert page.locator('#board tbody tr').first.bounding_box()['width'] <= PHONE['width']


CONTRAST = '''([front, back]) => {
  const style = getComputedStyle(document.documentElement), canvas = document.createElement('canvas').getContext('2d');
  const light = name => {
    canvas.fillStyle = style.getPropertyValue(name).trim();
    const [r, g, b] = [1, 3, 5].map(at => parseInt(canvas.fillStyle.slice(at, at + 2), 16) / 255)
      .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const [a, b] = [light(front), light(back)];
  return Math.max(a, b) / Math.min(a, b);
}'''


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_both_schemes_can_be_read(scheme, open_page):
  page = open_page('task=cifar10', color_scheme=scheme)
  shade = page.evaluate('getComputedStyle(document.body).backgroundColor')
  assert (sum(map(int, re.findall(r'\d+', shade)[:3])) < 200) == (scheme == 'dark')
  for front in ('--ink', '--soft', '--accent', '--target', '--history'):  # 4.5: WCAG 2.2, 1.4.3; 3 for marks, 1.4.11
    least = 3 if front == '--history' else 4.5
    for back in ('--panel', '--paper'):
      assert page.evaluate(CONTRAST, [front, back]) >= least, (front, back)


def test_paper_gets_the_board_and_not_its_controls(open_page):
  page = open_page('task=cifar10')
  page.emulate_media(media='print')
  assert page.locator('#board table').is_visible() and not page.locator('#filters').is_visible()
  assert not page.locator('#tasks').is_visible()
  assert len(page.pdf()) > 10_000


@pytest.mark.parametrize('missing, words', [('data.js', 'data.js'), ('details.js', 'details.js')])
def test_a_missing_data_file_is_named(missing, words, chromium, folder, tmp_path):
  shutil.copytree(folder, tmp_path / 'site')
  (tmp_path / 'site' / missing).unlink()
  with browsers.watched(chromium, expected=['ERR_FILE_NOT_FOUND']) as page:
    page.goto(f'{(tmp_path / "site").as_uri()}/index.html#task=digits&open=digits_2core_epyc')
    page.wait_for_selector('.problems:visible')
    assert words in page.locator('.problems:visible').text_content()


def test_a_run_is_seen_to_go_on_and_the_page_survives_its_server(chromium, tmp_path, monkeypatch):
  (tmp_path / 'run').mkdir()
  with closing_files(monkeypatch):
    story = Story(tmp_path / 'run' / 'tape.jsonl', start=time.time() - 20)
    story.set_up().point('run_start', step=0).train(5).eval(1, 0.5)
    with watch.Server(collect.Collection(tmp_path), 0) as server, \
        browsers.watched(chromium, own=server.address, viewport=DESK, expected=['ERR_CONNECTION']) as page:
      threading.Thread(target=server.serve_forever, daemon=True).start()
      page.goto(f'{server.address}#open=run')
      page.wait_for_selector('#entry figure.seconds svg')
      assert page.locator('#entry figure.seconds circle').count() == 1
      assert 'epoch 1' in page.locator('#entry .now').text_content()
      assert 'not ended' in page.locator('#entry tbody').first.text_content()
      before = page.locator('#entry .ago').text_content()
      page.wait_for_timeout(2500)
      assert page.locator('#entry .ago').text_content() != before  # a run that stalls is seen to
      story.train(5).eval(1, 0.95)
      page.wait_for_selector('#entry figure.seconds circle >> nth=1')
      assert '1 of 1' in page.locator('#entry .cards').text_content()
      story.finish()
      page.wait_for_selector('#entry .now', state='detached')
      page.locator('#entry .close').click()
      (tmp_path / 'later').mkdir()
      Story(tmp_path / 'later' / 'tape.jsonl').set_up()
      page.wait_for_selector('#board tr.ours >> nth=1')
      server.shutdown()
      server.server_close()
      page.wait_for_selector('#live.lost')
      assert page.locator('#board tr.ours').count() == 2
