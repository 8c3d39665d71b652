/* One board: which rows are on it, filtered, ranked and sorted, as a table and as cards. */
'use strict';

const BOARDS = {
  time: {label: 'Training time', format: seconds, value: (goal, clock) => goal.seconds?.[clock],
         columns: ['rank', 'name', 'time', 'result', 'runs', 'hardware', 'date', 'cost', 'tricks']},
  cost: {label: 'Training cost', format: usd, value: (goal, clock) => goal.cost?.[clock],
         columns: ['rank', 'name', 'cost', 'time', 'result', 'runs', 'hardware', 'date', 'tricks']},
  latency: {label: 'Inference latency', format: milliseconds, value: goal => goal.latency_ms,
            columns: ['rank', 'name', 'latency', 'result', 'scenario', 'hardware', 'date', 'price', 'tricks']},
  price: {label: 'Inference cost', format: usd,
          value: goal => goal.usd_per_item == null ? null : 1e4 * goal.usd_per_item,
          columns: ['rank', 'name', 'price', 'latency', 'result', 'scenario', 'hardware', 'date', 'tricks']},
};
const MOST_COMPARED = 6, RANKED_FROM = 5;  // runs of a set: docs/submitting.md
const isTraining = board => board === 'time' || board === 'cost';

/** DAWNBench's measure: items one after the other, as LoadGen's single stream asks them, timed. */
const oneAtATime = row => isHistory(row) || (row.scenario === 'single_stream' && row.mode !== 'accuracy');

/** Why a row has no rank although it was measured: a review, LoadGen's verdict, or a model below the target. */
const refused = (row, goal) => !!row.refused || row.valid === false
  || (row.kind === 'inference' && goal.value != null && !(goal.result >= goal.value));

/** Why a row that no review refused has no rank: luck decides between few runs; history's have theirs from before. */
const unranked = row => row.unended ? 'not ended' : row.n < RANKED_FROM && `no rank below ${RANKED_FROM} runs`;

/** Whether a row has anything to say on a board, by whatever clock. */
function isOn(board, row) {
  if (!isTraining(board)) return oneAtATime(row) && row.goals.some(goal => BOARDS[board].value(goal) != null);
  return row.goals.some(goal => goal.seconds && (board === 'time' || goal.cost.some(one => one != null)));
}

const hasRank = row => row.value != null && !unranked(row);

/** Those that were refused come last, however a board is sorted. */
const refusedLast = (a, b) => refused(a, a.goal) - refused(b, b.goal);

/** The rows of a board with their goal, its place and value: the best that may have a rank first, refused ones last. */
function boardRows({task, board, goal: key}, clock) {
  const found = [];
  for (const row of daybreak.data.rows) {
    const place = row.task === task && isOn(board, row) ? row.goals.findIndex(goal => goalKey(goal) === key) : -1;
    if (place < 0) continue;
    const goal = row.goals[place], value = refused(row, goal) ? null : BOARDS[board].value(goal, clock) ?? null;
    const failed = refused(row, goal) || (board === 'time' && !isHistory(row));  // shown, without a rank
    if (value != null || failed) found.push({...row, goal, place, clock, value});
  }
  return found.sort((a, b) => refusedLast(a, b) || !!unranked(a) - !!unranked(b)
    || (a.value ?? Infinity) - (b.value ?? Infinity) || 0);
}

/** Whether a row passes the filters. */
function passes(row, {search, device, single, origin, tricks, from, to, reached}) {
  const text = [row.name, row.model, row.by, row.hardware, row.framework, row.id].join(' ').toLowerCase();
  const declared = row.tricks && Object.keys(row.tricks);
  return (!search || search.toLowerCase().split(/\s+/).every(word => text.includes(word)))
    && (!device || row.device === device) && (!single || row.devices === 1)
    && (!origin || (origin === 'here' ? !isHistory(row) : row.kind === origin))
    && (!tricks || (tricks === 'none' ? declared?.length === 0 : declared?.includes(tricks)))
    && (!from || row.date >= from) && (!to || row.date.slice(0, to.length) <= to) && (!reached || hasRank(row));
}

function timeText(row) {
  const value = row.goal.seconds[row.clock];
  if (value != null || isHistory(row)) return seconds(value);
  if (row.goal.reached) return ['unknown', h('small', {}, whyUnknown(row))];
  return statusText(row.status) === 'not ended' ? 'not yet' : 'not reached';
}

/** Columns by name: what a cell shows, and what sorts it. */
const COLUMNS = {
  rank: {label: '#', show: row => row.rank ?? none},
  name: {label: 'Entry', sort: row => row.name.toLowerCase(), show: row => [
    h('button', {type: 'button', class: 'open', onclick: () => go({open: joinIds([row.id])})},
      breakable(row.name)), ' ',
    badges(row), h('small', {}, [row.model, row.by].filter(Boolean).join(' · '))]},
  time: {label: 'Time', sort: row => row.goal.seconds[row.clock], show: timeText},
  cost: {label: 'Cost', sort: row => row.goal.cost[row.clock], show: row => usd(row.goal.cost[row.clock])},
  latency: {label: 'Latency', sort: row => row.goal.latency_ms, show: row => milliseconds(row.goal.latency_ms)},
  price: {label: 'Cost of 10,000', sort: row => BOARDS.price.value(row.goal),
          show: row => usd(BOARDS.price.value(row.goal))},
  result: {label: 'Result', sort: row => row.goal.result, show: row => metric(row.goal.metric, row.goal.result)},
  runs: {label: 'Reached', sort: row => row.n ? row.goal.reached / row.n : null,
         show: row => row.n ? [`${row.goal.reached} of ${row.n}`, h('small', {}, asked(row) || unranked(row) || '')]
           : row.kind === 'dawnbench' ? '1 chosen' : none},
  scenario: {label: 'Scenario', sort: row => row.scenario,
             show: row => words([row.scenario ?? none, row.mode].filter(Boolean).join(', '))},
  hardware: {label: 'Hardware', sort: row => row.hardware.toLowerCase(), show: row => [
    row.device && h('b', {}, `${row.devices > 1 ? `${row.devices} × ` : ''}${row.device}`),
    h('small', {}, row.hardware)]},
  date: {label: 'Date', sort: row => row.date, show: row => row.date || none},
  tricks: {label: 'Tricks', sort: tricksText, show: tricksText},
};

/** Sorts rows by a column; those that have nothing there stay last either way. */
function sortRows(rows, key, down) {
  const sort = COLUMNS[key]?.sort, missing = value => value == null || value === '';
  if (!sort) return rows;
  return [...rows].sort((a, b) => refusedLast(a, b) || missing(sort(a)) - missing(sort(b))
    || (down ? -1 : 1) * d3.ascending(sort(a), sort(b)) || 0);
}

function boardTable(rows, state, caption) {
  const compared = splitIds(state.compare);
  const columns = BOARDS[state.board].columns.map(key => ({key, ...COLUMNS[key]}));
  const order = key => state.sort === key ? (state.down ? 'descending' : 'ascending')
    : !state.sort && key === state.board ? 'ascending' : null;
  const sorter = (key, label) => h('button', {type: 'button', 'data-sort': key,
    onclick: () => go({sort: key, down: order(key) === 'ascending'}, {replace: true})}, label);
  const pick = (row, picked) => {
    const ids = compared.filter(id => id !== row.id);
    go({compare: joinIds(picked ? [...ids, row.id].slice(-MOST_COMPARED) : ids)}, {replace: true});
  };
  const cell = (key, label, shown) =>
    h('td', {class: key, 'data-label': label, 'data-empty': shown === none || shown === 'not recorded'}, shown);
  return h('table', {}, h('caption', {}, caption),
    h('thead', {}, h('tr', {}, h('td', {class: 'pick'}, h('span', {class: 'hidden'}, 'Compare')),
      columns.map(({key, label, sort}) =>
        h('th', {scope: 'col', class: key, 'aria-sort': order(key)}, sort ? sorter(key, label) : label)))),
    h('tbody', {}, rows.map(row => h('tr', {'data-id': row.id, class: isHistory(row) ? 'history' : 'ours'},
      h('td', {class: 'pick'}, h('input', {type: 'checkbox', 'aria-label': `Compare ${row.name}`,
        checked: compared.includes(row.id), onchange: event => pick(row, event.target.checked)})),
      columns.map(({key, label, show}) => cell(key, label, show(row)))))));
}

/** The best of both worlds, and how far history came. */
function boardCards(rows, {board}) {
  const {format} = BOARDS[board], ranked = rows.filter(hasRank), made = [];
  const machine = row => row.device && [row.devices, row.device].filter(Boolean).join(' × ');
  const add = (label, row) => row && made.push(card(label, format(row.value),
    [row.name, machine(row), row.date].filter(Boolean).join(' · ')));
  const past = ranked.filter(isHistory), best = past[0], first = d3.least(past, row => row.date);
  add('Best here', ranked.find(row => !isHistory(row) && !row.fixture));
  add('Best of history', best);
  if (best && best.value < first.value) {
    made.push(card('History’s progress', `${three(first.value / best.value)} ×`,
      `${first.date.slice(0, 4)} to ${best.date.slice(0, 4)}, hardware and model changed too`));
  }
  const others = rows.filter(isHistory).length;
  made.push(card('Entries', rows.length.toLocaleString('en'),
    `${(rows.length - others).toLocaleString('en')} here, ${others} of history`));
  return made;
}
