/* Charts, by Observable Plot. Colours are CSS variables, so that dark mode and print restyle what is drawn. */
'use strict';

const SERIES = [1, 2, 3, 4, 5, 6].map(number => `var(--s${number})`);
const SPANS = ['train', 'eval', 'data', 'data_init', 'compile', 'init', 'import', 'checkpoint', 'log', 'lost',
  'unattributed'];
const MOST_DOTS = 1500;  // more of them hide each other and cost the page its second
const MOST_BARS = 40, MOST_LINES = 15;
const TARGET_LINE = {stroke: 'colour', strokeWidth: 1.5, strokeDasharray: '5 4'};

/** Plot.plot with this page's look, a title, and what it shows said for those who do not see it; the drawing. */
function chart(holder, title, options) {
  const plot = Plot.plot({
    width: Math.max(280, Math.min(1200, holder.clientWidth || 640)), marginLeft: 56, marginRight: 20,
    style: {background: 'none', fontFamily: 'inherit', fontSize: '12px', overflow: 'visible'},
    ariaLabel: title, className: 'plot', ...options});
  holder.append(h('h3', {}, title), plot);
  return plot;
}

/** items: [label, colour, shape], the shape a class of page.css. */
function legend(items) {
  return h('ul', {class: 'legend'}, items.map(([label, colour, shape]) =>
    h('li', {}, h('i', {style: `background:${colour}`, class: shape}), label)));
}

/** A logarithmic scale where entries that are compared differ by more than one axis can show. */
function far(chosen, values) {
  const [low, high] = d3.extent(values);
  return chosen.length > 1 && low > 0 && high / low > 30 ? {type: 'log', tickFormat: '~s'} : {};
}

/** Results over time, with the line of the best so far; where dates say nothing, a line for each entry. */
function overview(holder, rows, {format, label, open}) {
  const shown = rows.filter(row => row.value != null).slice(0, MOST_DOTS);
  if (!shown.length) return;
  const dots = shown.map(row => ({
    row, value: row.value, date: new Date(row.date || NaN), ours: !isHistory(row),
    title: [row.name, format(row.value), row.hardware, row.date, isHistory(row) && 'history'].filter(Boolean)
      .join('\n')}));
  const dated = dots.filter(dot => !isNaN(dot.date)).sort((a, b) => a.date - b.date);
  const days = dated.length ? (dated.at(-1).date - dated[0].date) / 864e5 : 0;
  const look = {fill: dot => dot.ours ? 'var(--accent)' : 'var(--history)', title: 'title', tip: true};
  const draw = days > 60 ? overYears : byEntry;
  const plot = draw(holder, days > 60 ? dated : dots, look, format, label);
  plot.addEventListener('click', () => plot.value?.row && open(plot.value.row.id));  // the dot whose tip shows
}

function overYears(holder, dots, look, format, label) {
  let best = Infinity;
  const front = dots.filter(({row, value}) => hasRank(row) && value < best && (best = value))
    .map(({date, value}) => ({date, value}));
  if (front.length) front.push({date: dots.at(-1).date, value: best});
  const [low, high] = d3.extent(dots, dot => dot.value), times = format === seconds, marks = [...TIMES.keys()];
  const ticks = times
    ? marks.filter(one => one >= (marks.findLast(m => m <= low) ?? low) && one <= (marks.find(m => m >= high) ?? high))
    : d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1).map(power => +`1e${power}`);
  const part = dots.length === MOST_DOTS ? `, the best ${MOST_DOTS}` : '';
  const plot = chart(holder, `${label} over the years${part}`, {
    height: 300, marginLeft: 78, r: {type: 'identity'}, x: {type: 'utc', label: null, nice: true},
    y: {type: 'log', label: null, domain: [Math.min(low, ticks[0]), Math.max(high, ticks.at(-1))]},
    marks: [
      Plot.axisY(ticks, {text: one => times ? TIMES.get(one) : format(one)}),
      Plot.gridY(ticks),
      Plot.line(front, {x: 'date', y: 'value', curve: 'step-after', stroke: 'var(--frontier)', strokeDasharray: '4 3'}),
      Plot.dot(dots, {...look, x: 'date', y: 'value', r: dot => dot.ours ? 6 : 4.5, fillOpacity: 0.85,
                      stroke: 'var(--panel)', symbol: dot => dot.ours ? 'diamond' : 'circle'}),
    ]});
  holder.append(legend([['run here', 'var(--accent)', 'diamond'], ['history', 'var(--history)', 'dot'],
    ['best so far', 'var(--frontier)', 'dash']]));
  return plot;
}

function byEntry(holder, dots, look, format, label) {
  const top = dots.slice(0, MOST_LINES), name = dot => dot.row.id;
  const range = key => dot => dot.row.goal[key]?.[dot.row.clock] ?? dot.value;
  const times = format === seconds;  // which is what the fastest and the slowest run are of
  const part = dots.length > MOST_LINES ? `, the best ${MOST_LINES}` : '';
  const plot = chart(holder, `${label}, by entry${part}`, {
    height: 46 + 34 * top.length, marginLeft: 16, y: {axis: null, domain: top.map(name)},
    x: {label: null, grid: true, zero: true, nice: true, tickFormat: format, ticks: 5},
    marks: [
      Plot.ruleY(times ? top : [], {y: name, x1: range('min'), x2: range('max'), stroke: look.fill, strokeWidth: 6,
                       strokeOpacity: 0.3, strokeLinecap: 'round'}),
      Plot.dot(top, {...look, y: name, x: 'value', r: 5}),
      Plot.text(top, {y: name, x: 0, text: dot => dot.row.name, textAnchor: 'start', dy: -14, dx: 2,
                      fill: 'var(--ink)', stroke: 'var(--panel)', strokeWidth: 5}),
    ]});
  if (times && top.some(dot => dot.row.goal.min)) {
    holder.append(h('p', {class: 'hint'}, 'Dot: expected until a success. Band: from the fastest to the slowest run.'));
  }
  return plot;
}

/** The targets of what is chosen, each once; one that not all share has the colour of its entry, if it is of one. */
function targetsOf(chosen) {
  const having = chosen.filter(({goal}) => goal.value != null);
  const found = [...d3.group(having, ({goal}) => goalKey(goal)).values()];
  return found.map(all => ({value: all[0].goal.value, text: metricTick(all[0].goal.metric)(all[0].goal.value),
    colour: found.length > 1 && all.length === 1 ? all[0].colour : 'var(--target)'}));
}

/** The targets' legend, below a chart, since words inside it would lie over runs. */
const targetLegend = targets => targets.length ? [legend(targets.map(({text, colour}) =>
  [`target ${text}`, colour, 'dash']))] : [];

/** The metric against seconds on a clock, or against epochs: every run of every entry, and the target. */
function trajectory(holder, chosen, axis, clock) {
  const {goal} = chosen[0], byEpoch = axis === 'epoch', tick = metricTick(goal.metric), offset = afterClocks();
  const points = chosen.flatMap(({detail, place, colour}) => detail.runs.flatMap((run, number) =>
    run.points.map(one => ({run, colour, line: `${colour}${number}`, x: byEpoch ? one[0] : one[1 + clock.index],
                            y: one[offset + place]}))));
  const drawn = points.filter(point => point.x != null && point.y != null);
  if (!drawn.length) return;
  const runs = new Set(drawn.map(point => point.line)).size, opacity = runs > 30 ? 0.25 : runs > 6 ? 0.5 : 0.9;
  const targets = targetsOf(chosen), measures = new Set(chosen.map(one => metricName(one.goal.metric)));
  chart(holder, byEpoch ? 'By epochs' : `By seconds, ${clock.label} clock`, {
    height: 280, marginBottom: 36, r: {type: 'identity'},
    x: {label: axis, nice: true, ticks: 6, ...(byEpoch ? {} : far(chosen, drawn.map(point => point.x)))},
    y: {label: [...measures].join(' or '), grid: true, nice: true, tickFormat: tick},
    marks: [
      Plot.ruleY(targets, {...TARGET_LINE, y: 'value'}),
      Plot.line(drawn, {x: 'x', y: 'y', z: 'line', stroke: 'colour', strokeOpacity: opacity, strokeWidth: 1.6}),
      Plot.dot(drawn, {x: 'x', y: 'y', z: 'line', fill: 'colour', fillOpacity: opacity, tip: true,
        r: point => point.run.points.length === 1 ? 4 : runs > 12 ? 1.8 : 3,
        title: point => `${point.run.run}, seed ${point.run.seed}\n${metric(goal.metric, point.y)}\n`
          + (byEpoch ? `epoch ${point.x}` : seconds(point.x))}),
    ]});
  holder.append(...targetLegend(targets));
}

/** Where the time went: a bar for each run, or the mean of an entry where there would be many. */
function spans(holder, chosen) {
  const single = chosen.length === 1 && chosen[0].detail.runs.length <= MOST_BARS;
  const others = chosen.flatMap(({detail}) => detail.runs.flatMap(run => Object.keys(run.spans)));
  const names = [...new Set([...SPANS, ...others])], known = new Set(SPANS);
  const colour = name => `var(--span-${known.has(name) ? name : 'unattributed'})`;  // others' names are no style
  const bars = chosen.flatMap(({row, detail}) => {
    const found = detail.runs.filter(run => Object.keys(run.spans).length);
    const mean = name => d3.sum(found, run => run.spans[name] ?? 0) / found.length;
    if (single) return found.map(run => ({bar: run.run, spans: run.spans}));
    const means = Object.fromEntries(names.map(name => [name, mean(name)]));
    return found.length ? [{bar: row.id, name: row.name, spans: means}] : [];
  });
  const parts = bars.flatMap(({bar, spans}) => names.filter(name => spans[name] > 0).map(name => ({
    bar, name, seconds: spans[name], share: percent(spans[name] / d3.sum(Object.values(spans)))})));
  if (!parts.length) return;
  const labelled = single && bars.length > 1;
  chart(holder, single ? 'Where the time went' : 'Where the time went, mean over runs', {
    height: 56 + Math.max(20, Math.min(34, 460 / bars.length)) * bars.length, marginBottom: 40,
    marginLeft: labelled ? 62 : 12, x: {label: 'seconds', nice: true, ticks: 6},
    y: {label: null, domain: bars.map(bar => bar.bar), axis: labelled ? 'left' : null},
    color: {domain: names, range: names.map(colour)},
    marks: [
      Plot.barX(parts, Plot.stackX({y: 'bar', x: 'seconds', fill: 'name', order: names, insetBottom: 1, tip: true,
        insetTop: single ? 1 : 14,
        title: part => `${words(part.name)}\n${seconds(part.seconds)}, ${part.share}\n${part.bar}`})),
      Plot.text(single ? [] : bars, {y: 'bar', x: 0, text: 'name', textAnchor: 'start', dy: -11, dx: 2,
                                     fill: 'var(--ink)'}),
    ]});
  const of = d3.rollup(parts, some => d3.sum(some, part => part.seconds), part => part.name), all = d3.sum(of.values());
  holder.append(legend(names.filter(name => of.has(name)).map(name =>
    [`${words(name)} ${percent(of.get(name) / all)}`, colour(name), 'box'])));
}

/** A dot for each run: how values spread over seeds, with the quartiles where there are enough. */
function distribution(holder, title, chosen, value, {format, targets = [], tick}) {
  const dots = chosen.flatMap(({row, detail, place, colour}) => detail.runs.map(run => ({
    entry: row.id, run, colour, value: value(run, place)})).filter(dot => dot.value != null));
  if (dots.length < 2) return;
  const entries = [...new Set(dots.map(dot => dot.entry))];
  const names = new Map(chosen.map(({row}) => [row.id, row.name])), labelled = entries.length > 1;
  const axis = far(chosen, dots.map(dot => dot.value)), at = axis.type ? Math.log : value => value;
  const bin = d3.scaleQuantize(d3.extent(dots, dot => at(dot.value)), d3.range(40));  // about as wide as a dot
  const crowd = Math.max(...d3.rollup(dots, all => all.length, dot => `${dot.entry} ${bin(at(dot.value))}`).values());
  const boxed = dots.filter(dot => dots.filter(other => other.entry === dot.entry).length >= 5);
  chart(holder, title, {
    height: 50 + (labelled ? 94 * (entries.length + 0.2) : 74), marginLeft: 12, marginTop: 20, marginBottom: 30,
    fy: {label: null, domain: entries, axis: null, padding: labelled ? 0.2 : 0},  // between them are the labels
    x: {label: null, nice: true, grid: true, tickFormat: tick, ticks: holder.clientWidth < 420 ? 3 : 5, ...axis},
    marks: [
      Plot.ruleX(targets, {...TARGET_LINE, x: 'value'}),
      Plot.boxX(boxed, {fy: 'entry', x: 'value', fill: 'var(--box)', stroke: 'var(--soft)', r: 0}),
      Plot.dot(dots, Plot.dodgeY({anchor: 'middle', fy: 'entry', x: 'value', fill: 'colour', fillOpacity: 0.85,
        r: Math.max(1.5, Math.min(3.5, 32 / crowd)), padding: Math.min(1, 9 / crowd), tip: true,
        title: dot => `${dot.run.run}, seed ${dot.run.seed}\n${format(dot.value)}`})),
      Plot.text(labelled ? entries : [], {fy: entry => entry, text: entry => names.get(entry), dy: -4,
        frameAnchor: 'top-left', lineAnchor: 'bottom', fill: 'var(--ink)'}),
    ]});
  holder.append(...targetLegend(targets));
}
