/* What opens behind a row, or behind several to compare: charts, runs, facts, and the command that makes it again.
   What is chosen is a list of {row, goal, place}: a row, the goal of the board, and its place among the row's goals. */
'use strict';

/** Points are [epoch, seconds by each clock ..., metrics of the goals ...]; where the metrics begin. */
const afterClocks = () => 1 + daybreak.data.clocks.length;

/** Calls `then` once details.js is there; it is read when the first row is opened, so that the page opens fast. */
function withDetails(then) {
  if (daybreak.details) return then();
  const script = h('script', {src: 'details.js'});
  script.addEventListener('load', then);
  script.addEventListener('error', () => { daybreak.details = {}; then(); });
  document.head.append(script);
}

const card = (label, value, more) =>
  h('div', {class: 'card'}, h('span', {class: 'label'}, label), h('strong', {}, value), more && h('small', {}, more));

/** While runs are followed nobody knows yet how one that has not ended will end. */
const statusText = status => daybreak.data.live && status === 'interrupted' ? 'not ended' : status;

/** Why a set that has successes has no expected time. */
const whyUnknown = ({missing: n}) => n ? `${counted(n, 'run')} missing` : 'a failed run never began this clock';

/** A set that goes on, or was cut short, has begun fewer runs than its command asked for. */
const asked = row => row.asked > row.n && `${row.asked} asked for`;

function badges(row) {
  const warn = (text, title) => h('span', {class: 'badge warn', title}, text);
  return [
    h('span', {class: `badge ${row.kind}`, title: KIND_NOTES[row.kind]}, KINDS[row.kind]),
    row.fixture && warn('fixture', 'made up for a test'),
    row.dirty && warn('uncommitted code', 'the code had changes that no commit holds'),
    row.refused && h('span', {class: 'badge warn long'}, `refused by review: ${row.refused}`),
    row.valid === false && warn('invalid', 'the verdict of LoadGen'),
    row.kind === 'inference' && row.valid !== false && row.goal && refused(row, row.goal) && warn('below the target'),
    row.status && row.status !== 'complete' && warn(statusText(row.status)),
  ];
}

function tricksText(row) {
  if (row.tricks == null) return isHistory(row) ? 'not recorded' : none;
  return Object.keys(row.tricks).map(words).join(', ') || 'none declared';
}

function keyNumbers({row, goal}, clock) {
  const cards = [], at = key => goal[key]?.[clock.index], interval = at('interval');
  if (goal.latency_ms != null) cards.push(card('Latency', milliseconds(goal.latency_ms), words(row.scenario ?? '')));
  if (goal.usd_per_item != null) cards.push(card('Cost', usd(1e4 * goal.usd_per_item), 'for 10,000 items'));
  if (goal.seconds) {
    cards.push(row.n > 1 ? card('Expected time', seconds(at('seconds')),
        at('seconds') == null && goal.reached ? whyUnknown(row) : 'until a success, failures included')
      : card('Time to target', seconds(at('seconds')), `${clock.label} clock`));
    if (row.n > 1) {
      cards.push(card('Mean of successes', seconds(at('mean')),
        interval && `95 % interval ${interval.map(seconds).join(' to ')}${interval[0] ? '' : ', cut: too few runs'}`));
      cards.push(card('Olympic mean', seconds(at('olympic_mean')), 'without fastest and slowest'));
    }
    if (row.n) {
      cards.push(card('Reached the target', `${goal.reached} of ${row.n}`,
        [asked(row) || unranked(row), goal.rate && `95 % interval ${goal.rate.map(percent).join(' to ')}`]
          .filter(Boolean).join('; ')));
    }
    cards.push(card('Cost', usd(at('cost')), at('cost') == null ? 'no price known' : 'at the price in the facts'));
  }
  cards.push(card(metricName(goal.metric), metric(goal.metric, goal.result),
    goal.value == null ? null : `target ${goalValue(goal)}`));
  return h('div', {class: 'cards'}, cards);
}

/** The lines that run it again, of what the tape recorded. */
function reproduce({row, detail: {facts}}) {
  if (!Array.isArray(facts?.command)) return null;
  const text = [
    facts.git_commit && `git checkout ${quoted(facts.git_commit)}`,
    facts.xla_flags && `export XLA_FLAGS=${quoted(facts.xla_flags)}`,
    [`python -m launchers.${row.kind === 'inference' ? 'infer' : 'train'}`, ...facts.command.map(quoted)].join(' '),
  ].filter(Boolean).join('\n');
  const copy = h('button', {type: 'button', onclick: async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = 'Copied';
  }}, 'Copy');
  return h('section', {}, h('h3', {}, 'The command that reproduces it'),
    h('div', {class: 'command'}, h('pre', {tabindex: 0}, text), navigator.clipboard && copy),
    facts.git_dirty && h('p', {class: 'hint'}, 'The code had changes that the commit does not hold.'));
}

function plainTable(head, body, kind = '') {
  return h('div', {class: 'scroll', tabindex: 0}, h('table', {class: `plain ${kind}`},
    head && h('thead', {}, h('tr', {}, head.map(text => h('th', {scope: 'col'}, text)))), h('tbody', {}, body)));
}

const tableRow = cells => h('tr', {}, cells.map(text => h('td', {}, String(text ?? none))));

function runsTable({detail, goal, place}, clock) {
  const head = ['run', 'seed', 'status', metricName(goal.metric), 'time to target', 'restarts', 'compiled',
    'parameters sha256'];
  const body = detail.runs.map(run => {
    const hit = run.hits[place], at = run.points[hit ?? run.points.length - 1];
    return tableRow([run.run, run.seed, statusText(run.status), at && metric(goal.metric, at[afterClocks() + place]),
      hit == null ? 'not reached' : seconds(at[1 + clock.index]), run.restarts,
      run.cold == null ? none : run.cold ? 'cold' : 'from a cache', `${run.parameters_sha256 ?? none}`.slice(0, 16)]);
  });
  return h('details', {open: body.length <= MOST_BARS},
    h('summary', {}, body.length === 1 ? 'The run' : `All ${body.length} runs`), plainTable(head, body));
}

/** The inference records that lie in the folder of a run, whether or not a board has them. */
function inferenceTable({row}) {
  const found = daybreak.data.rows.filter(one => one.kind === 'inference' && one.id.startsWith(`${row.id}/inference/`));
  const body = found.map(one => tableRow([words(one.scenario), one.mode, milliseconds(one.goals[0].latency_ms),
    metric(one.goals[0].metric, one.goals[0].result), one.valid == null ? none : one.valid ? 'valid' : 'invalid']));
  return body.length > 0 && h('section', {}, h('h3', {}, 'Inference with its parameters'),
    plainTable(['scenario', 'mode', 'latency', 'result', 'LoadGen'], body));
}

/** Facts by name: those of the tape, or what history says of an entry. */
function factsOf({row, detail}) {
  const {goals, goal, place, clock, value, rank, id, kind, ...said} = row;
  const {config, command, ...facts} = detail.facts ?? {};
  const known = Object.entries(said).filter(([, one]) => one != null);
  const settings = String(config ?? '').split('\n').map(line => line.split(' = ')).filter(parts => parts.length > 1)
    .map(([name, ...rest]) => [`config.${name}`, rest.join(' = ')]);
  return new Map([...flatten(isHistory(row) ? Object.fromEntries(known) : facts), ...settings]);
}

function factsTable(chosen) {
  const all = chosen.map(factsOf), names = [...new Set(all.flatMap(facts => [...facts.keys()]))];
  const differs = name => new Set(all.map(facts => facts.get(name))).size > 1;
  const several = chosen.length > 1;
  const body = names.filter(name => !several || differs(name)).map(name => h('tr', {},
    h('th', {scope: 'row'}, breakable(words(name))), all.map(facts => h('td', {}, link(facts.get(name) ?? none)))));
  const title = several ? 'What differs' : isHistory(chosen[0].row) ? 'What its entry says' : 'What was recorded';
  return h('section', {}, h('h3', {}, title),
    plainTable(several && ['fact', ...chosen.map(({row}) => breakable(row.name))], body, 'facts'));
}

/** What keeps a comparison from being like for like, said before any chart. */
function unlike(chosen) {
  const ways = {
    'the hardware': ({row}) => `${row.devices} ${row.device}`, 'the tricks': ({row}) => tricksText(row),
    'the model': ({row}) => row.model, 'the target': ({goal}) => goalText(goal),
    'who measured it': ({row}) => isHistory(row) ? row.kind : 'here', 'what a review says': ({row}) => !!row.refused};
  const found = Object.keys(ways).filter(name => new Set(chosen.map(ways[name])).size > 1);
  return found.length > 0
    && h('p', {class: 'problems'}, `Not like for like, since not the same in all: ${found.join(', ')}.`);
}

/** Where a run stands that has not ended. */
function nowLine({row: {now}}) {
  if (!now) return null;
  const where = [now.run, now.step != null && `step ${now.step}`, now.epoch != null && `epoch ${three(now.epoch)}`,
    now.loss != null && `loss ${three(now.loss)}`].filter(Boolean).join(', ');
  return h('p', {class: 'now'}, `${where}: ${words(now.doing)} `, h('span', {class: 'ago', 'data-time': now.time}));
}

/** Says how long ago things were; called again while a run is followed, since a run that stalls changes nothing. */
function age() {
  for (const one of document.querySelectorAll('.ago')) {
    const whole = Math.max(0, Math.round(Date.now() / 1000 - one.dataset.time));
    one.textContent = `${seconds(whole).replace('.00', '')} ago`;
  }
}

function drawEntry(figures, drawn, clock) {
  const [bySeconds, byEpoch, spent, times, metrics] = figures, {goal} = drawn[0];
  const hit = (run, place) => run.points[run.hits[place] ?? -1], tick = metricTick(goal.metric);
  trajectory(bySeconds, drawn, 'seconds', clock);
  trajectory(byEpoch, drawn, 'epoch', clock);
  spans(spent, drawn);
  distribution(times, `Seconds to target over seeds, ${clock.label} clock`, drawn,
    (run, place) => hit(run, place)?.[1 + clock.index], {format: seconds, tick: four});
  distribution(metrics, `${metricName(goal.metric)} over seeds`, drawn,
    (run, place) => (hit(run, place) ?? run.points.at(-1))?.[afterClocks() + place],
    {format: value => metric(goal.metric, value), targets: targetsOf(drawn), tick});
  for (const figure of figures) if (!figure.childElementCount) figure.remove();
}

/** Fills the dialog with what is chosen, and shows it. */
function openEntry(dialog, chosen, clock, {close, setClock}) {
  withDetails(() => {
    const all = chosen.map((one, number) => ({...one, colour: SERIES[number % SERIES.length],
      detail: own(daybreak.details, one.row.id) ?? {runs: [], lost: !isHistory(one.row)}}));
    const drawn = all.filter(({detail}) => detail.runs.length), single = all.length === 1 ? all[0] : null;
    const {row, detail} = single ?? {}, config = detail?.facts?.config;
    const said = row && [row.model, row.hardware, row.framework, row.date, row.by].filter(Boolean).join(' · ');
    const figures = ['seconds', 'epoch', 'spans', 'times', 'metrics'].map(name =>
      h('figure', {class: `panel ${name}`}));
    const clocks = daybreak.data.clocks.map((one, index) =>
      h('option', {value: one.name, selected: index === clock.index}, one.label));
    const scrolled = dialog.open ? dialog.scrollTop : 0;
    dialog.replaceChildren(...[
      h('header', {},
        h('div', {}, h('h2', {id: 'entry-title', tabindex: -1, autofocus: true},
          single ? breakable(row.name) : `${all.length} entries compared`),
        single && h('p', {}, badges(row), ' ', said)),
        h('button', {type: 'button', class: 'close', 'aria-label': 'Close', onclick: close}, '×')),
      all.some(one => one.detail.lost) && h('p', {class: 'problems'},
        'details.js, which holds the facts of these rows, is not beside this page, or is of another one.'),
      single ? KIND_NOTES[row.kind] && h('p', {class: 'hint'}, KIND_NOTES[row.kind]) : unlike(all),
      single && nowLine(single),
      single ? keyNumbers(single, clock) : legend(all.map(one => [one.row.name, one.colour, 'box'])),
      drawn.length > 0 && h('label', {class: 'clock'}, 'Clock ',
        h('select', {id: 'entry-clock', onchange: event => setClock(event.target.value)}, clocks),
        h('small', {}, clock.what)),
      drawn.length > 0 && h('div', {class: 'figures'}, figures),
      single && drawn.length > 0 && runsTable(single, clock),
      single && inferenceTable(single),
      single && reproduce(single),
      factsTable(all),
      config && h('details', {}, h('summary', {}, 'The whole config'), h('pre', {tabindex: 0}, config)),
    ].filter(Boolean));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = scrolled;
    age();
    if (drawn.length) drawEntry(figures, drawn, clock);
  });
}
