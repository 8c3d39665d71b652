/* The page. The address after # holds everything that was chosen, so that a view can be bookmarked and sent. */
'use strict';

const $ = id => document.getElementById(id);
const FILTERS = ['search', 'device', 'origin', 'tricks', 'from', 'to', 'single', 'reached'];
let state = {}, limit = 100;

/** Changes what is chosen; `undefined` and empty values go back to the default. */
function go(changes, {replace = false} = {}) {
  const chosen = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(changes)) {
    value ? chosen.set(key, value === true ? 1 : value) : chosen.delete(key);
  }
  window.history[replace ? 'replaceState' : 'pushState'](null, '', `#${chosen}`);
  render();
}

function clockNow() {
  const index = Math.max(0, daybreak.data.clocks.findIndex(clock => clock.name === state.clock));
  return {...daybreak.data.clocks[index], index};
}

/** Entries that go on, the latest first: not ended, and heard of within the hour; one that was killed is silent. */
function running() {
  const rows = daybreak.data.live ? daybreak.data.rows.filter(row => row.status === 'interrupted') : [];
  return rows.filter(row => row.now.time > Date.now() / 1000 - 3600).sort((a, b) => b.now.time - a.now.time);
}

/** The board on which an entry is held against the target of its own. */
const viewOf = row => ({task: row.task, board: 'time', goal: goalKey(row.goals[0])});

/** The line that leads to what goes on; an address that names no view becomes that of the entry heard of last. */
function showRunning() {
  const found = running(), links = found.slice(0, MOST_COMPARED).flatMap(row => [', ',
    h('a', {href: `#${new URLSearchParams({...viewOf(row), open: joinIds([row.id])})}`}, breakable(row.name)), ' ',
    h('span', {class: 'ago', 'data-time': row.now.time})]);
  $('running').hidden = !found.length;
  $('running').replaceChildren('running: ', ...links.slice(1),
    found.length > MOST_COMPARED ? `, and ${found.length - MOST_COMPARED} more` : '');
  if (found.length && location.hash.length < 2) {
    window.history.replaceState(null, '', `#${new URLSearchParams(viewOf(found[0]))}`);
  }
}

/** Keeps the tab that is chosen in sight, where tabs are wider than the screen; one may look at others meanwhile. */
function showTab() {
  const bar = $('tasks').getBoundingClientRect(), shown = `${state.task} ${innerWidth}`;
  const tab = $('tasks').querySelector('[aria-current]')?.getBoundingClientRect();
  if (!tab || $('tasks').dataset.shown === shown) return;
  $('tasks').dataset.shown = shown;
  $('tasks').scrollLeft += Math.min(0, tab.left - bar.left) || Math.max(0, tab.right - bar.right);
}

/** Reads the address; what it leaves open is decided by what there is: history's target and clock before others'. */
function read() {
  const {rows, tasks, live, clocks} = daybreak.data;
  state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const there = new Set(rows.map(row => row.task));
  state.tasks = [...new Set([...Object.keys(tasks), ...there])].filter(task => there.has(task));
  const ours = state.tasks.find(task => rows.some(row => row.task === task && !isHistory(row)));
  if (!there.has(state.task)) state.task = ours || state.tasks[0];
  const here = rows.filter(row => row.task === state.task);
  state.boards = Object.keys(BOARDS).filter(board => here.some(row => isOn(board, row)));
  if (!state.boards.includes(state.board)) state.board = state.boards[0];
  const shown = here.filter(row => isOn(state.board, row));
  const goals = d3.rollups(shown.flatMap(row => row.goals.map(goal => ({row, goal}))),
    all => ({goal: all[0].goal, past: all.find(({row}) => isHistory(row))?.goal, count: all.length,
             ours: all.some(({row}) => !isHistory(row))}), ({goal}) => goalKey(goal));
  state.goals = new Map(goals.sort(([, a], [, b]) =>
    (live ? b.ours - a.ours : 0) || !!b.past - !!a.past || b.count - a.count));
  if (!state.goals.has(state.goal)) [state.goal] = state.goals.keys();
  const measured = state.goals.get(state.goal)?.past?.seconds?.findIndex(one => one != null) ?? 0;
  state.clock ??= clocks[Math.max(0, measured)].name;
}

function explain() {
  const clock = clockNow(), text = [], what = state.board === 'time' ? 'time' : 'cost';
  if (isTraining(state.board)) {
    text.push(`${clock.label} clock: ${clock.what}. A set of runs counts its expected ${what} until a success, failed `
      + `and missing runs included. Ranked are sets of ${RANKED_FROM} runs or more that have ended, in whose tapes and `
      + 'ledger no fault is found.');
  } else if (state.board === 'latency') {
    text.push('Mean milliseconds for one item, one at a time; what is inside differs between entries of history.');
  }
  if (what === 'cost' && state.board !== 'latency') {
    text.push('US dollars at the on-demand price of the whole machine when it ran.');
  }
  if (daybreak.data.rows.some(row => row.task === state.task && row.kind === 'dawnbench')) {
    text.push('DAWNBench closed in 2020: its rows are single runs, chosen by their submitters.');
  }
  return [...text, 'Not verified by MLCommons Association.'].join(' ');
}

/** options: [value, words]. */
function select(name, label, options) {
  const now = state[name] ?? '';
  return h('label', {}, h('span', {}, label), h('select', {name, onchange: event => go({[name]: event.target.value})},
    options.map(([value, text]) => h('option', {value, selected: value === now}, text))));
}

function navigation() {
  const {tasks, rows, clocks} = daybreak.data, counts = d3.rollup(rows, all => all.length, row => row.task);
  const to = (changes, now, ...inner) =>
    h('a', {href: `#${new URLSearchParams(changes)}`, 'aria-current': now && 'page'}, inner);
  $('tasks').replaceChildren(...state.tasks.map(task =>
    to({task}, task === state.task, own(tasks, task) ?? task, h('small', {}, String(counts.get(task))))));
  $('boards').replaceChildren(...state.boards.map(board =>
    to({task: state.task, board}, board === state.board, BOARDS[board].label)));
  const choices = [select('goal', 'Target', [...state.goals].map(([key, {goal}]) => [key, goalText(goal)]))];
  if (isTraining(state.board)) choices.push(select('clock', 'Clock', clocks.map(clock => [clock.name, clock.label])));
  $('choices').replaceChildren(...choices);
  $('explain').textContent = explain();
}

/** The filter fields, made anew only when their options are others, so that typing is not interrupted. */
function filters(rows) {
  const values = of => [...new Set(rows.flatMap(of).filter(Boolean))].sort();
  const devices = values(row => row.device), tricks = values(row => Object.keys(row.tricks ?? {}));
  const options = JSON.stringify([state.task, state.board, devices, tricks]);
  const field = (name, label, type) => h('label', {class: type}, h('span', {}, label), h('input', {name, type,
    oninput: ({target}) => go({[name]: type === 'checkbox' ? target.checked : target.value}, {replace: true})}));
  if ($('form').dataset.options !== options) {
    $('form').dataset.options = options;
    $('form').replaceChildren(
      field('search', 'Search', 'search'),
      select('device', 'Hardware', [['', 'any'], ...devices.map(one => [one, one])]),
      select('origin', 'From', [['', 'runs and history'], ['here', 'runs here'], ['dawnbench', KINDS.dawnbench],
        ['mlperf', KINDS.mlperf]]),
      select('tricks', 'Tricks', [['', 'any'], ['none', 'none declared'], ...tricks.map(one => [one, words(one)])]),
      field('from', 'Not before', 'date'), field('to', 'Not after', 'date'),
      field('single', 'Single device', 'checkbox'), field('reached', 'Ranked only', 'checkbox'),
      h('button', {type: 'button', id: 'reset',
        onclick: () => go(Object.fromEntries(FILTERS.map(name => [name, undefined])))}, 'Reset'));
  }
  for (const name of FILTERS) {
    const input = $('form').elements[name];
    if (input.type === 'checkbox') input.checked = !!state[name];
    else if (input !== document.activeElement) input.value = state[name] ?? '';
  }
}

/** A selector of the control that has the focus, where drawing makes it anew. */
function focused() {
  const {dataset, name, type} = document.activeElement ?? {};
  if (dataset?.sort) return `[data-sort="${dataset.sort}"]`;
  const row = type === 'checkbox' && document.activeElement.closest('tr');
  return row ? `tr[data-id="${CSS.escape(row.dataset.id)}"] input` : name ? `#choices [name="${name}"]` : null;
}

function compareBar() {
  const ids = splitIds(state.compare);
  $('compare').hidden = !ids.length;
  $('compare').replaceChildren(h('span', {}, `${ids.length} chosen`),
    h('button', {type: 'button', class: 'main', onclick: () => go({open: joinIds(ids)})},
      ids.length > 1 ? 'Compare' : 'Open'),
    h('button', {type: 'button', onclick: () => go({compare: ''}, {replace: true})}, 'Clear'));
}

/** Opens what the address names: as it is on this board, or with its own goal where it is on another. */
function showEntry(everything) {
  const chosen = splitIds(state.open).map(id => everything.find(row => row.id === id)
    ?? daybreak.data.rows.filter(row => row.id === id).map(row => ({...row, goal: row.goals[0], place: 0}))[0]);
  const there = chosen.filter(Boolean).map(row => ({row, goal: row.goal, place: row.place}));
  if (there.length) {
    openEntry($('entry'), there, clockNow(),
      {close: () => go({open: ''}), setClock: clock => go({clock}, {replace: true})});
  } else if ($('entry').open) $('entry').close();
}

/** Draws everything anew from the address and the data. */
function render() {
  const again = focused();
  showRunning();
  read();
  const {data} = daybreak, {label, format} = BOARDS[state.board], clock = clockNow();
  const everything = boardRows(state, clock.index), ranked = everything.filter(row => passes(row, state));
  ranked.filter(hasRank).forEach((row, number) => { row.rank = number + 1; });
  const rows = sortRows(ranked, state.sort, state.down), problems = Object.values(data.problems);
  const caption = [`${own(data.tasks, state.task) ?? state.task}: ${label.toLowerCase()}`,
    rows[0] && goalText(rows[0].goal),
    isTraining(state.board) && `${clock.label} clock`].filter(Boolean).join(', ');
  navigation();
  filters(everything);
  $('cards').replaceChildren(...boardCards(ranked, state));
  $('overview').replaceChildren();
  $('overview').hidden = false;
  overview($('overview'), ranked, {format, label, open: id => go({open: joinIds([id])})});
  $('overview').hidden = !$('overview').childElementCount;
  $('count').textContent = `${rows.length} of ${counted(everything.length, 'entry', 'entries')}`
    + (rows.length > limit ? `, the first ${limit} shown` : '');
  $('board').replaceChildren(rows.length ? boardTable(rows.slice(0, limit), state, caption)
    : h('p', {class: 'empty'}, 'No entry passes these filters.'));
  $('more').hidden = rows.length <= limit;
  $('more').textContent = `Show ${Math.min(200, rows.length - limit)} more`;
  $('problems').hidden = !problems.length;
  $('problems').replaceChildren(h('strong', {}, 'Not shown, since it could not be read:'),
    h('ul', {}, problems.map(text => h('li', {}, text))));
  $('made').textContent = `Made ${data.made.slice(0, 16).replace('T', ' ')} UTC.`;
  compareBar();
  showTab();
  age();
  if (again) document.querySelector(again)?.focus();
  showEntry(everything);
}

/** Live: asks the server every second for what changed; what was last seen stays when the server is gone. */
async function follow() {
  const {data} = daybreak, lost = $('live').classList;
  try {
    const answer = await fetch(`changes?since=${data.version}`);
    const {version, rows, details, gone, problems} = await answer.json();
    if (version !== data.version) {
      const changed = new Set([...rows.map(row => row.id), ...gone]);
      const kept = data.rows.filter(row => !changed.has(row.id));
      Object.assign(data, {version, problems, rows: [...kept, ...rows], made: new Date().toISOString()});
      if (daybreak.details) Object.assign(daybreak.details, details);
      render();
    }
    $('live').textContent = `live · ${new Date().toLocaleTimeString()}`;
    lost.remove('lost');
  } catch {
    $('live').textContent = 'connection lost; this is what was last seen';
    lost.add('lost');
  }
  age();
  setTimeout(follow, lost.contains('lost') ? 5000 : 1000);
}

function start() {
  if (!window.daybreak?.data) {
    const text = 'data.js, which holds what this page shows, is not beside it.';
    $('main').replaceChildren(h('p', {class: 'problems'}, text));
    return;
  }
  const dialog = $('entry'), close = () => go({open: ''});
  let width = innerWidth, pending = 0;
  const resized = () => { if (width !== innerWidth) { width = innerWidth; render(); } };
  $('form').addEventListener('submit', event => event.preventDefault());
  $('more').addEventListener('click', () => { limit += 200; render(); });
  dialog.addEventListener('cancel', event => { event.preventDefault(); close(); });
  dialog.addEventListener('click', event => { if (event.target === dialog) close(); });  // beside its content
  addEventListener('popstate', () => { limit = 100; render(); });
  addEventListener('resize', () => { clearTimeout(pending); pending = setTimeout(resized, 150); });
  if (matchMedia('(max-width: 700px)').matches) $('filters').open = false;
  if (daybreak.data.live) { $('live').hidden = false; setTimeout(follow, 500); }
  render();
}

start();
