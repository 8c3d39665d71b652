/* What opens behind a row, or behind several to compare: charts, runs, facts, and the command that makes it again. */
'use strict';

/** Calls `then` once details.js is there; it is read when the first row is opened, so that the page opens fast. */
function withDetails(then) {
  if (daybreak.details) return then();
  const script = h('script', {src: 'details.js'});
  script.addEventListener('load', then);
  script.addEventListener('error', () => { daybreak.details = {}; then(); });
  document.head.append(script);
}

const card = (label, value, more) => h('div', {class: 'card'}, h('span', {class: 'label'}, label), h('strong', {}, value), more && h('small', {}, more));

function badges(row) {
  return [h('span', {class: `badge ${row.kind}`, title: KIND_NOTES[row.kind]}, KINDS[row.kind]),
    row.fixture && h('span', {class: 'badge warn', title: 'made up for a test'}, 'fixture'),
    row.dirty && h('span', {class: 'badge warn', title: 'the code had changes that no commit holds'}, 'uncommitted code'),
    row.valid === false && h('span', {class: 'badge warn', title: 'LoadGen’s verdict'}, 'invalid'),
    row.status && row.status !== 'complete' && h('span', {class: 'badge warn'}, daybreak.data.live ? 'not ended' : row.status)];
}

const tricksText = row => row.tricks == null ? (isHistory(row) ? 'not recorded' : none)
  : Object.keys(row.tricks).map(words).join(', ') || 'none declared';

function keyNumbers({row, goal}, clock) {
  const cards = [];
  if (goal.latency_ms != null) cards.push(card('Latency', milliseconds(goal.latency_ms), row.scenario && words(row.scenario)));
  if (goal.usd_per_item != null) cards.push(card('Cost', usd(goal.usd_per_item * 1e4), 'for 10,000 items'));
  if (goal.seconds) {
    const interval = goal.interval?.[clock.index];
    cards.push(card(row.n > 1 ? 'Expected time' : 'Time to target', seconds(goal.seconds[clock.index]), row.n > 1 ? 'until a success, failures included' : `${clock.label} clock`));
    if (row.n > 1) cards.push(card('Mean of successes', seconds(goal.mean[clock.index]), interval && `95 % interval ${seconds(interval[0])} to ${seconds(interval[1])}`),
      card('Olympic mean', seconds(goal.olympic_mean[clock.index]), 'without fastest and slowest'));
    if (row.n) cards.push(card('Reached the target', `${goal.reached} of ${row.n}`, goal.rate && `95 % interval ${(100 * goal.rate[0]).toFixed(1)} to ${(100 * goal.rate[1]).toFixed(1)} %`));
    cards.push(card('Cost', usd(goal.cost[clock.index]), goal.cost[clock.index] == null ? 'no price known' : 'at the price in the facts'));
  }
  cards.push(card(metricName(goal.metric), metric(goal.metric, goal.result), goal.value == null ? null : `target ${goalText(goal).replace(/^.*(?=≥)/, '')}`));
  return h('div', {class: 'cards'}, cards);
}

/** The lines that run it again, of what the tape recorded. */
function reproduce(facts) {
  const lines = [];
  if (facts.git_commit) lines.push(`git checkout ${facts.git_commit}`);
  if (facts.xla_flags) lines.push(`export XLA_FLAGS=${quoted(facts.xla_flags)}`);
  lines.push(['python -m launchers.train', ...facts.command.map(quoted)].join(' '));
  const text = lines.join('\n');
  const copy = h('button', {type: 'button', onclick: async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = 'Copied';
  }}, 'Copy');
  return h('section', {}, h('h3', {}, 'The command that reproduces it'), h('div', {class: 'command'}, h('pre', {tabindex: 0}, text), navigator.clipboard && copy),
    facts.git_dirty && h('p', {class: 'hint'}, 'The code had changes that the commit does not hold: this may not reproduce the run.'));
}

function runsTable({row, detail, goal, place}, clock) {
  const head = ['run', 'seed', 'status', metricName(goal.metric), 'time to target', 'restarts', 'compiled', 'parameters sha256'];
  const body = detail.runs.map(run => {
    const hit = run.hits[place] ?? null, at = run.points[hit ?? run.points.length - 1];
    return [run.run, run.seed ?? none, run.status, at ? metric(goal.metric, at[1 + daybreak.data.clocks.length + place]) : none,
      hit == null ? 'not reached' : seconds(at[1 + clock.index]), run.restarts ?? none,
      run.cold == null ? none : run.cold ? 'cold' : 'from a cache', run.parameters_sha256?.slice(0, 16) ?? none];
  });
  return h('details', {open: body.length <= 40}, h('summary', {}, body.length === 1 ? 'The run' : `All ${body.length} runs`), h('div', {class: 'scroll', tabindex: 0}, h('table', {class: 'plain'},
    h('thead', {}, h('tr', {}, head.map(text => h('th', {scope: 'col'}, text)))),
    h('tbody', {}, body.map(cells => h('tr', {}, cells.map(text => h('td', {}, String(text)))))))));
}

/** Facts by name: those of the tape, or what history says of an entry. */
function factsOf({row, detail}) {
  const {goals, goal, place, clock, value, rank, id, kind, ...said} = row;
  const {config, command, ...facts} = detail?.facts ?? {};
  const lines = isHistory(row) ? flatten(Object.fromEntries(Object.entries(said).filter(([, value]) => value != null))) : flatten(facts);
  const settings = (config ?? '').split('\n').filter(line => line.includes(' = ')).map(line => [`config.${line.split(' = ')[0]}`, line.split(' = ').slice(1).join(' = ')]);
  return new Map([...lines, ...settings]);
}

function factsTable(chosen) {
  const all = chosen.map(factsOf), names = [...new Set(all.flatMap(facts => [...facts.keys()]))];
  const shown = chosen.length === 1 ? names : names.filter(name => new Set(all.map(facts => facts.get(name))).size > 1);
  const cell = text => h('td', {}, text == null ? none : link(text));
  return h('section', {}, h('h3', {}, chosen.length > 1 ? 'What differs' : isHistory(chosen[0].row) ? 'What its entry says' : 'Facts of the tape'),
    h('div', {class: 'scroll', tabindex: 0}, h('table', {class: 'plain facts'},
      chosen.length > 1 && h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, 'fact'), chosen.map(({row}) => h('th', {scope: 'col'}, row.name)))),
      h('tbody', {}, shown.map(name => h('tr', {}, h('th', {scope: 'row'}, words(name)), all.map(facts => cell(facts.get(name)))))))));
}

/** What keeps a comparison from being like for like, said before any chart. */
function unlike(chosen) {
  const ways = {'the hardware': row => `${row.devices} ${row.device}`, 'the tricks': tricksText, 'the model': row => row.model, 'the target': row => goalText(row.goal),
    'who measured it': row => isHistory(row) ? row.kind : 'here'};
  const found = Object.keys(ways).filter(name => new Set(chosen.map(({row}) => ways[name](row))).size > 1);
  return found.length > 0 && h('p', {class: 'problems'}, `Not like for like, since not the same in all: ${found.join(', ')}.`);
}

function nowLine({row}) {
  if (!row.now) return null;
  const age = Math.max(0, Date.now() / 1000 - row.now.time);
  const where = [row.now.run, row.now.step != null && `step ${row.now.step}`, row.now.epoch != null && `epoch ${three(row.now.epoch)}`, row.now.loss != null && `loss ${three(row.now.loss)}`];
  return h('p', {class: 'now'}, `${where.filter(Boolean).join(', ')}: ${words(row.now.doing)} ${seconds(age)} ago`);
}

/** Fills the dialog with rows as `chosen` ([{row, goal, place}]), drawn at its width, and shows it. */
function openEntry(dialog, chosen, clock, {close, setClock}) {
  withDetails(() => {
    chosen = chosen.map((one, number) => ({...one, detail: daybreak.details[one.row.id] ?? (isHistory(one.row) ? {runs: []} : null), colour: SERIES[number % SERIES.length]}));
    const lost = chosen.filter(({detail}) => !detail);
    chosen = chosen.map(one => ({...one, detail: one.detail ?? {runs: []}}));
    const single = chosen.length === 1 && chosen[0], drawn = chosen.filter(({detail}) => detail.runs.length);
    const clocks = daybreak.data.clocks.map((one, index) => h('option', {value: one.name, selected: index === clock.index}, one.label));
    const figures = ['seconds', 'epoch', 'spans', 'times', 'metrics'].map(name => h('figure', {class: `panel ${name}`}));
    const top = dialog.open ? dialog.scrollTop : 0;
    dialog.replaceChildren(...[
      h('header', {}, h('div', {}, h('h2', {id: 'entry-title', tabindex: -1, autofocus: true}, single ? breakable(single.row.name) : `${chosen.length} entries compared`),
          single && h('p', {}, badges(single.row), ' ', [single.row.model, single.row.hardware, single.row.framework, single.row.date, single.row.by].filter(Boolean).join(' · '))),
        h('button', {type: 'button', class: 'close', 'aria-label': 'Close', onclick: close}, '×')),
      lost.length > 0 && h('p', {class: 'problems'}, 'details.js, which holds the facts of these rows, is not beside this page, or is of another one.'),
      !single && unlike(chosen),
      single && KIND_NOTES[single.row.kind] && h('p', {class: 'hint'}, KIND_NOTES[single.row.kind]),
      single && nowLine(single),
      single ? keyNumbers(single, clock) : legend(chosen.map(({row, colour}) => [row.name, colour, 'box'])),
      drawn.length > 0 && h('label', {class: 'clock'}, 'Clock ', h('select', {id: 'entry-clock', onchange: event => setClock(event.target.value)}, clocks), h('small', {}, clock.what)),
      drawn.length > 0 && h('div', {class: 'figures'}, figures),
      single && drawn.length > 0 && runsTable(single, clock),
      single && single.detail.facts?.command && Array.isArray(single.detail.facts.command) && reproduce(single.detail.facts),
      factsTable(chosen),
      single && single.detail.facts?.config && h('details', {}, h('summary', {}, 'The whole config'), h('pre', {tabindex: 0}, single.detail.facts.config)),
    ].filter(Boolean));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = top;
    if (!drawn.length) return;
    const [bySeconds, byEpoch, spent, times, metrics] = figures, {goal} = chosen[0];
    trajectory(bySeconds, drawn, 'seconds', clock);
    trajectory(byEpoch, drawn, 'epoch', clock);
    spans(spent, drawn);
    distribution(times, `Seconds to target over seeds, ${clock.label} clock`, drawn,
      (run, place) => run.hits[place] == null ? null : run.points[run.hits[place]][1 + clock.index], {format: seconds, digits: four});
    distribution(metrics, `${metricName(goal.metric)} over seeds`, drawn, (run, place) => run.points[run.hits[place] ?? run.points.length - 1]?.[1 + daybreak.data.clocks.length + place],
      {format: value => metric(goal.metric, value), rule: goal.value, digits: metricTick(goal.metric)});
    for (const figure of figures) if (!figure.childElementCount) figure.remove();
  });
}
