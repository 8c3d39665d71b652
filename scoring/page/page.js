/* The boards. The address after # holds everything that was chosen, so that a view can be bookmarked and sent. */
'use strict';

const $ = id => document.getElementById(id);
const BOARDS = {
  time: {label: 'Training time', format: seconds, value: (goal, clock) => goal.seconds?.[clock]},
  cost: {label: 'Training cost', format: usd, value: (goal, clock) => goal.cost?.[clock]},
  latency: {label: 'Inference latency', format: milliseconds, value: goal => goal.latency_ms},
  price: {label: 'Inference cost', format: usd, value: goal => goal.usd_per_item == null ? null : 1e4 * goal.usd_per_item},
};
const FIELDS = ['search', 'device', 'origin', 'tricks', 'from', 'to', 'single', 'reached'];
const MOST_COMPARED = 6;
let state = {}, limit = 100;
const isTraining = () => state.board === 'time' || state.board === 'cost';
const clockNow = () => ({...daybreak.data.clocks[clockIndex()], index: clockIndex()});
const clockIndex = () => Math.max(0, daybreak.data.clocks.findIndex(clock => clock.name === state.clock));

/** Changes what is chosen; `undefined` and empty values go back to the default. */
function go(changes, {replace = false} = {}) {
  const chosen = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(changes)) value ? chosen.set(key, value === true ? 1 : value) : chosen.delete(key);
  const address = `#${chosen}`;
  replace ? history.replaceState(null, '', address) : history.pushState(null, '', address);
  render();
}

const address = changes => `#${new URLSearchParams(Object.entries(changes).filter(([, value]) => value))}`;
const on = (board, row) => row.goals.some(goal => board === 'latency' || board === 'price' ? BOARDS[board].value(goal) != null : goal.seconds && (board === 'time' || goal.cost.some(one => one != null)));

/** Reads the address; what it leaves open is decided by what there is: history's target and clock before others'. */
function read() {
  const {rows, tasks} = daybreak.data, chosen = new URLSearchParams(location.hash.slice(1));
  state = Object.fromEntries([...chosen]);
  state.tasks = [...new Set([...Object.keys(tasks), ...rows.map(row => row.task)])].filter(task => rows.some(row => row.task === task));
  const ours = rows.find(row => !isHistory(row) && (row.n ?? 1) >= 1 && daybreak.data.live);
  if (!state.tasks.includes(state.task)) state.task = ours?.task ?? state.tasks[0];
  const here = rows.filter(row => row.task === state.task);
  state.boards = Object.keys(BOARDS).filter(board => here.some(row => on(board, row)));
  if (!state.boards.includes(state.board)) state.board = state.boards[0];
  const goals = d3.rollups(here.filter(row => on(state.board, row)).flatMap(row => row.goals.map(goal => ({row, goal}))),
    all => ({goal: all[0].goal, history: all.find(({row}) => isHistory(row)), ours: all.some(({row}) => !isHistory(row)), count: all.length}), ({goal}) => goalKey(goal));
  goals.sort(([, a], [, b]) => (daybreak.data.live ? b.ours - a.ours : 0) || !!b.history - !!a.history || b.count - a.count);
  state.goals = goals;
  if (!goals.some(([key]) => key === state.goal)) state.goal = goals[0]?.[0];
  const measured = goals.find(([key]) => key === state.goal)?.[1].history?.goal.seconds?.findIndex(one => one != null) ?? 0;
  state.clock ??= daybreak.data.clocks[Math.max(0, measured)].name;
}

/** Rows of the board as [{...row, goal, place, clock, value}], best first, those without a value last. */
function boardRows() {
  const clock = clockIndex(), {value} = BOARDS[state.board], found = [];
  for (const row of daybreak.data.rows) {
    if (row.task !== state.task || !on(state.board, row)) continue;
    const place = row.goals.findIndex(goal => goalKey(goal) === state.goal);
    if (place < 0) continue;
    const goal = row.goals[place], number = row.valid === false ? null : value(goal, clock) ?? null;
    if (number != null || row.valid === false || (state.board === 'time' && !isHistory(row))) found.push({...row, goal, place, clock, value: number});
  }
  return found.sort((a, b) => (a.value ?? Infinity) - (b.value ?? Infinity) || 0);
}

function kept(row) {
  const text = [row.name, row.model, row.by, row.hardware, row.framework, row.id].join(' ').toLowerCase();
  const tricks = row.tricks && Object.keys(row.tricks);
  return (!state.search || state.search.toLowerCase().split(/\s+/).every(word => text.includes(word)))
    && (!state.device || row.device === state.device) && (!state.single || row.devices === 1)
    && (!state.origin || (state.origin === 'here' ? !isHistory(row) : row.kind === state.origin))
    && (!state.tricks || (state.tricks === 'none' ? tricks?.length === 0 : tricks?.includes(state.tricks)))
    && (!state.from || row.date >= state.from) && (!state.to || row.date.slice(0, state.to.length) <= state.to)
    && (!state.reached || row.value != null);
}

const COLUMNS = {
  rank: {label: '#', show: row => row.rank ?? none},
  name: {label: 'Entry', sort: row => row.name.toLowerCase(), show: row => [
    h('button', {type: 'button', class: 'open', onclick: () => go({open: row.id})}, breakable(row.name)), ' ', badges(row), h('small', {}, [row.model, row.by].filter(Boolean).join(' · '))]},
  time: {label: 'Time', sort: row => row.goal.seconds[row.clock], show: row => row.goal.seconds[row.clock] == null ? (row.goal.reached ? 'unknown' : isHistory(row) ? none : 'not reached') : seconds(row.goal.seconds[row.clock])},
  cost: {label: 'Cost', sort: row => row.goal.cost[row.clock], show: row => usd(row.goal.cost[row.clock])},
  latency: {label: 'Latency', sort: row => row.goal.latency_ms, show: row => milliseconds(row.goal.latency_ms)},
  price: {label: 'Cost of 10,000', sort: row => BOARDS.price.value(row.goal), show: row => usd(BOARDS.price.value(row.goal))},
  result: {label: 'Result', sort: row => row.goal.result, show: row => metric(row.goal.metric, row.goal.result)},
  runs: {label: 'Reached', sort: row => row.n ? row.goal.reached / row.n : null, show: row => row.n ? `${row.goal.reached} of ${row.n}` : row.kind === 'dawnbench' ? '1 chosen' : none},
  scenario: {label: 'Scenario', sort: row => row.scenario, show: row => words(row.scenario ?? none)},
  hardware: {label: 'Hardware', sort: row => row.hardware.toLowerCase(), show: row => [row.device && h('b', {}, `${row.devices > 1 ? `${row.devices} × ` : ''}${row.device}`), h('small', {}, row.hardware)]},
  date: {label: 'Date', sort: row => row.date, show: row => row.date || none},
  tricks: {label: 'Tricks', sort: tricksText, show: tricksText},
};
const ON_BOARD = {time: ['rank', 'name', 'time', 'result', 'runs', 'hardware', 'date', 'cost', 'tricks'], cost: ['rank', 'name', 'cost', 'time', 'result', 'runs', 'hardware', 'date', 'tricks'],
  latency: ['rank', 'name', 'latency', 'result', 'scenario', 'hardware', 'date', 'price', 'tricks'], price: ['rank', 'name', 'price', 'latency', 'result', 'scenario', 'hardware', 'date', 'tricks']};

const cell = (key, label, shown) => h('td', {class: key, 'data-label': label, 'data-empty': shown === none || shown === 'not recorded'}, shown);

function table(rows) {
  const columns = ON_BOARD[state.board].map(key => ({key, ...COLUMNS[key]})), compared = (state.compare ?? '').split('|').filter(Boolean);
  const sorted = key => state.sort === key ? (state.down ? 'descending' : 'ascending') : !state.sort && key === state.board ? 'ascending' : null;
  const head = columns.map(({key, label, sort}) => h('th', {scope: 'col', class: key, 'aria-sort': sorted(key)}, sort
    ? h('button', {type: 'button', 'data-sort': key, onclick: () => go({sort: key, down: sorted(key) === 'ascending'}, {replace: true})}, label) : label));
  const body = rows.slice(0, limit).map(row => h('tr', {'data-id': row.id, class: isHistory(row) ? 'history' : 'ours'},
    h('td', {class: 'pick'}, h('input', {type: 'checkbox', 'aria-label': `Compare ${row.name}`, checked: compared.includes(row.id), onchange: event => {
      const ids = compared.filter(id => id !== row.id);
      go({compare: (event.target.checked ? [...ids, row.id].slice(-MOST_COMPARED) : ids).join('|')}, {replace: true});
    }})),
    columns.map(({key, label, show}) => cell(key, label, show(row) ?? none))));
  return h('table', {}, h('caption', {}, [`${daybreak.data.tasks[state.task] ?? state.task}: ${BOARDS[state.board].label.toLowerCase()}`, goalText(rows[0].goal), isTraining() && `${clockNow().label} clock`].filter(Boolean).join(', ')),
    h('thead', {}, h('tr', {}, h('td', {class: 'pick'}, h('span', {class: 'hidden'}, 'Compare')), head)), h('tbody', {}, body));
}

function cards(rows) {
  const {format} = BOARDS[state.board], ranked = rows.filter(row => row.value != null), made = [];
  const of = (label, row) => row && made.push(card(label, format(row.value), [row.name, row.device && `${row.devices ?? ''} × ${row.device}`.replace(/^ × /, ''), row.date].filter(Boolean).join(' · ')));
  of('Best here', ranked.find(row => !isHistory(row) && !row.fixture));
  of('Best of history', ranked.find(isHistory));
  const first = d3.least(ranked.filter(isHistory), row => row.date), best = ranked.find(isHistory);
  if (first && best.value < first.value) made.push(card('History’s progress', `${three(first.value / best.value)} ×`, `${first.date.slice(0, 4)} to ${best.date.slice(0, 4)}, hardware and model changed too`));
  const own = rows.filter(row => !isHistory(row)), history = rows.length - own.length;
  made.push(card('Entries', String(rows.length), `${own.length} here, ${history} of history`));
  return made;
}

function explain() {
  const clock = clockNow(), text = [];
  if (isTraining()) text.push(`${clock.label} clock: ${clock.what}. A set of runs counts its expected ${state.board === 'time' ? 'time' : 'cost'} until a success, failed and missing runs included.`);
  if (state.board === 'cost' || state.board === 'price') text.push('US dollars at the on-demand price of the whole machine when it ran.');
  if (state.board === 'latency') text.push('Mean milliseconds for one item; which steps are inside differs between entries of history.');
  if (daybreak.data.rows.some(row => row.task === state.task && row.kind === 'dawnbench')) text.push('DAWNBench closed in 2020: its rows are single runs, chosen by their submitters.');
  return [...text, 'Not verified by MLCommons Association.'].join(' ');
}

function select(name, label, options) {
  const chosen = state[name] ?? '';
  return h('label', {}, h('span', {}, label), h('select', {name, onchange: event => go({[name]: event.target.value})}, options.map(([value, text]) => h('option', {value, selected: value === chosen}, text))));
}

function navigation() {
  const {tasks, rows} = daybreak.data;
  $('tasks').replaceChildren(...state.tasks.map(task => h('a', {href: address({task}), 'aria-current': task === state.task && 'page'}, tasks[task] ?? task, h('small', {}, String(rows.filter(row => row.task === task).length)))));
  $('boards').replaceChildren(...state.boards.map(board => h('a', {href: address({task: state.task, board}), 'aria-current': board === state.board && 'page'}, BOARDS[board].label)));
  $('choices').replaceChildren(select('goal', 'Target', state.goals.map(([key, {goal}]) => [key, goalText(goal)])), ...(isTraining() ? [select('clock', 'Clock', daybreak.data.clocks.map(clock => [clock.name, clock.label]))] : []));
  $('explain').textContent = explain();
}

/** The filter fields, made anew only when their options are others, so that typing is not interrupted. */
function filters(rows) {
  const values = key => [...new Set(rows.map(key).flat().filter(Boolean))].sort();
  const options = JSON.stringify([state.task, state.board, values(row => row.device), values(row => Object.keys(row.tricks ?? {}))]);
  if ($('form').dataset.options !== options) {
    $('form').dataset.options = options;
    const field = (name, label, type) => h('label', {class: type}, h('span', {}, label), h('input', {name, type, oninput: event => go({[name]: type === 'checkbox' ? event.target.checked : event.target.value}, {replace: true})}));
    $('form').replaceChildren(field('search', 'Search', 'search'),
      select('device', 'Hardware', [['', 'any'], ...values(row => row.device).map(one => [one, one])]),
      select('origin', 'From', [['', 'runs and history'], ['here', 'runs here'], ['dawnbench', 'DAWNBench history'], ['mlperf', 'MLPerf history']]),
      select('tricks', 'Tricks', [['', 'any'], ['none', 'none declared'], ...values(row => Object.keys(row.tricks ?? {})).map(one => [one, words(one)])]),
      field('from', 'Not before', 'date'), field('to', 'Not after', 'date'), field('single', 'Single device', 'checkbox'), field('reached', 'Ranked only', 'checkbox'),
      h('button', {type: 'button', id: 'reset', onclick: () => go(Object.fromEntries(FIELDS.map(name => [name, undefined])))}, 'Reset'));
  }
  for (const name of FIELDS) {
    const input = $('form').elements[name];
    if (input.type === 'checkbox') input.checked = !!state[name];
    else if (input !== document.activeElement) input.value = state[name] ?? '';
  }
}

/** Draws everything anew from the address and the data; the focused control keeps the focus. */
function render() {
  read();
  const active = document.activeElement, again = active?.dataset?.sort ? `[data-sort="${active.dataset.sort}"]` : active?.getAttribute?.('aria-label')?.startsWith('Compare ') ? `[data-id="${CSS.escape(active.closest('tr')?.dataset.id ?? '')}"] input` : active?.name ? `.choices [name="${active.name}"]` : null;
  const everything = boardRows(), rows = everything.filter(kept);
  let rank = 0;
  for (const row of rows) if (row.value != null) row.rank = ++rank;
  const best = [...rows];
  const sort = COLUMNS[state.sort]?.sort;
  if (sort) {
    const direction = state.down ? -1 : 1, missing = value => value == null || value === '';
    rows.sort((a, b) => missing(sort(a)) - missing(sort(b)) || direction * d3.ascending(sort(a), sort(b)) || 0);
  }
  navigation();
  filters(everything);
  $('cards').replaceChildren(...cards(best));
  $('overview').replaceChildren();
  overview($('overview'), best, {value: row => row.value, format: BOARDS[state.board].format, label: BOARDS[state.board].label, open: id => go({open: id})});
  $('overview').hidden = !$('overview').childElementCount;
  $('count').textContent = `${rows.length} of ${everything.length} entries` + (rows.length > limit ? `, the first ${limit} shown` : '');
  $('board').replaceChildren(rows.length ? table(rows) : h('p', {class: 'empty'}, 'No entry passes these filters.'));
  $('more').hidden = rows.length <= limit;
  $('more').textContent = `Show ${Math.min(200, rows.length - limit)} more`;
  $('problems').hidden = !Object.keys(daybreak.data.problems).length;
  $('problems').replaceChildren(h('strong', {}, 'Not shown, since it could not be read:'), h('ul', {}, Object.values(daybreak.data.problems).map(text => h('li', {}, text))));
  $('made').textContent = `Made ${daybreak.data.made.slice(0, 16).replace('T', ' ')} UTC.`;
  compareBar();
  if (again) document.querySelector(again)?.focus();
  showEntry(everything);
}

function compareBar() {
  const ids = (state.compare ?? '').split('|').filter(Boolean);
  $('compare').hidden = !ids.length;
  $('compare').replaceChildren(h('span', {}, `${ids.length} chosen`), h('button', {type: 'button', class: 'main', onclick: () => go({open: ids.join('|')})}, ids.length > 1 ? 'Compare' : 'Open'), h('button', {type: 'button', onclick: () => go({compare: ''}, {replace: true})}, 'Clear'));
}

function showEntry(everything) {
  const dialog = $('entry'), ids = (state.open ?? '').split('|').filter(Boolean);
  const elsewhere = id => daybreak.data.rows.filter(row => row.id === id).map(row => ({...row, goal: row.goals[0], place: 0}))[0];
  const chosen = ids.map(id => everything.find(row => row.id === id) ?? elsewhere(id)).filter(Boolean);
  if (chosen.length) openEntry(dialog, chosen.map(row => ({row, goal: row.goal, place: row.place})), clockNow(), {close: () => go({open: ''}), setClock: clock => go({clock}, {replace: true})});
  else if (dialog.open) dialog.close();
}

/** Live: asks the server for what changed, every second; what was last seen stays when it is gone. */
async function follow() {
  const {data} = daybreak;
  let next = 1000;
  try {
    const answer = await fetch(`changes?since=${data.version}`);
    const {version, rows, details, gone, problems} = await answer.json();
    if (version !== data.version) {
      const changed = new Set([...rows.map(row => row.id), ...gone]);
      Object.assign(data, {version, problems, rows: [...data.rows.filter(row => !changed.has(row.id)), ...rows], made: new Date().toISOString()});
      if (daybreak.details) Object.assign(daybreak.details, details);
      render();
    }
    $('live').textContent = `live · ${new Date().toLocaleTimeString()}`;
    $('live').classList.remove('lost');
  } catch {
    next = 5000;
    $('live').textContent = 'connection lost; this is what was last seen';
    $('live').classList.add('lost');
  }
  setTimeout(follow, next);
}

function start() {
  if (!window.daybreak?.data) {
    $('main').replaceChildren(h('p', {class: 'problems'}, 'data.js, which holds what this page shows, is not beside it.'));
    return;
  }
  $('form').addEventListener('submit', event => event.preventDefault());
  $('more').addEventListener('click', () => { limit += 200; render(); });
  $('entry').addEventListener('cancel', event => { event.preventDefault(); go({open: ''}); });
  $('entry').addEventListener('click', event => { if (event.target === $('entry')) go({open: ''}); });
  addEventListener('hashchange', () => { limit = 100; render(); });
  addEventListener('popstate', render);
  let width = innerWidth, pending = 0;
  addEventListener('resize', () => { clearTimeout(pending); pending = setTimeout(() => { if (width !== innerWidth) { width = innerWidth; render(); } }, 150); });
  if (matchMedia('(max-width: 700px)').matches) $('filters').open = false;
  if (daybreak.data.live) { $('live').hidden = false; setTimeout(follow, 500); }
  render();
}

start();
