/* Charts, by Observable Plot. Colours are CSS variables, so that dark mode and print restyle what is drawn. */
'use strict';

const SERIES = ['var(--s1)', 'var(--s2)', 'var(--s3)', 'var(--s4)', 'var(--s5)', 'var(--s6)'];
const SPANS = ['train', 'eval', 'data', 'data_init', 'compile', 'init', 'import', 'checkpoint', 'log', 'lost', 'unattributed'];
const SPAN_COLOURS = SPANS.map(name => `var(--span-${name})`);
const MOST_DOTS = 1500;  // more of them hide each other and cost the page its second

/** Plot.plot with this page's look, a title, and what it shows said for those who do not see it. */
function chart(holder, title, options) {
  const width = Math.max(280, Math.min(1200, holder.clientWidth || 640));
  const plot = Plot.plot({
    width, marginLeft: 56, marginRight: 20, style: {background: 'none', fontFamily: 'inherit', fontSize: '12px', overflow: 'visible'},
    ariaLabel: title, className: 'plot', ...options});
  holder.append(h('h3', {}, title), plot);
}

const legend = items => h('ul', {class: 'legend'}, items.map(([label, colour, mark]) =>
  h('li', {}, h('i', {style: `background:${colour}`, class: mark}), label)));

/** A logarithmic scale where entries that are compared differ by more than one axis can show. */
function far(chosen, values) {
  const [low, high] = d3.extent(values);
  return chosen.length > 1 && low > 0 && high / low > 30 ? {type: 'log', tickFormat: '~s'} : {};
}

/** Results over time, with the line of the best so far; where dates say nothing, one line an entry. */
function overview(holder, rows, {value, format, label, open}) {
  const shown = rows.filter(row => value(row) != null).slice(0, MOST_DOTS);
  if (!shown.length) return;
  const dots = shown.map(row => ({row, date: new Date(row.date || NaN), value: value(row), ours: !isHistory(row)}));
  const dated = dots.filter(dot => !isNaN(dot.date)).sort((a, b) => a.date - b.date);
  const days = dated.length ? (dated.at(-1).date - dated[0].date) / 864e5 : 0;
  const tip = {format: {x: false, y: false, fill: false}, title: dot =>
    `${dot.row.name}\n${format(dot.value)}\n${dot.row.hardware}\n${dot.row.date}${dot.ours ? '' : '\nhistory'}`};
  const colour = dot => dot.ours ? 'var(--accent)' : 'var(--history)';
  const many = shown.length === MOST_DOTS ? ` (the best ${MOST_DOTS})` : '';
  if (days > 60) {
    let best = Infinity;
    const front = dated.filter(dot => dot.value < best && (best = dot.value));
    front.push({date: dated.at(-1).date, value: best});
    const [low, high] = d3.extent(dated, dot => dot.value), marks = [...TIMES.keys()];
    const ends = [marks.findLast(one => one <= low) ?? low, marks.find(one => one >= high) ?? high];
    const times = format === seconds;
    const ticks = times ? marks.filter(one => one >= ends[0] && one <= ends[1])
      : d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1).map(power => +`1e${power}`);
    chart(holder, `${label} over the years${many}`, {height: 300, marginLeft: 78, x: {type: 'utc', label: null, nice: true},
      r: {type: 'identity'}, y: {type: 'log', label: null, domain: [ticks[0], ticks.at(-1)]}, marks: [
        Plot.axisY(ticks, {text: one => times ? TIMES.get(one) : format(one)}), Plot.gridY(ticks),
        Plot.line(front, {x: 'date', y: 'value', curve: 'step-after', stroke: 'var(--frontier)', strokeDasharray: '4 3'}),
        Plot.dot(dated, {x: 'date', y: 'value', r: dot => dot.ours ? 6 : 4.5, fill: colour, stroke: 'var(--panel)',
                         fillOpacity: 0.85, symbol: dot => dot.ours ? 'diamond' : 'circle', title: tip.title, tip: true})]});
    holder.append(legend([['run here', 'var(--accent)', 'diamond'], ['history', 'var(--history)', 'dot'], ['best so far', 'var(--frontier)', 'dash']]));
  } else {
    const top = dots.sort((a, b) => a.value - b.value).slice(0, 15);
    const range = key => dot => dot.row.goal[key]?.[dot.row.clock] ?? dot.value;
    const name = dot => dot.row.id;
    chart(holder, `${label}, by entry` + (dots.length > 15 ? ` (the best 15 of ${dots.length})` : ''), {
      height: 46 + 34 * top.length, marginLeft: 16, x: {label: null, grid: true, zero: true, nice: true, tickFormat: format, ticks: 5},
      y: {label: null, axis: null, domain: top.map(name)}, marks: [
        Plot.ruleY(top, {y: name, x1: range('min'), x2: range('max'), stroke: colour, strokeWidth: 6, strokeOpacity: 0.3, strokeLinecap: 'round'}),
        Plot.dot(top, {y: name, x: 'value', fill: colour, r: 5, title: tip.title, tip: true}),
        Plot.text(top, {y: name, x: 0, text: dot => dot.row.name, textAnchor: 'start', dy: -14, dx: 2, fill: 'var(--ink)'})]});
    if (top.some(dot => dot.row.goal.min)) holder.append(h('p', {class: 'hint'}, 'Dot: expected seconds to success; band: fastest to slowest run.'));
  }
  holder.querySelector('svg.plot, figure svg, svg')?.addEventListener('click', event => {
    const dot = event.currentTarget.value;  // Plot's pointer: what the tip shows
    if (dot?.row) open(dot.row.id);
  });
}

/** The metric against seconds on a clock, or against epochs: every run of every entry, and the target. */
function trajectory(holder, chosen, axis, clock) {
  const {goal} = chosen[0];
  const lines = chosen.flatMap(({detail, place, colour}) => detail.runs.flatMap((run, number) => run.points.map(point => ({
    line: `${colour}${number}`, colour, x: axis === 'epoch' ? point[0] : point[1 + clock.index],
    y: point[1 + daybreak.data.clocks.length + place], run}))).filter(point => point.x != null && point.y != null));
  if (!lines.length) return;
  const runs = new Set(lines.map(point => point.line)).size;
  const opacity = runs > 30 ? 0.25 : runs > 6 ? 0.5 : 0.9;
  chart(holder, axis === 'epoch' ? 'By epochs' : `By seconds, ${clock.label} clock`, {
    height: 280, marginBottom: 36, x: {label: axis === 'epoch' ? 'epoch' : 'seconds', nice: true, ticks: 6, ...(axis === 'epoch' ? {} : far(chosen, lines.map(point => point.x)))},
    r: {type: 'identity'}, y: {label: metricName(goal.metric), grid: true, nice: true, tickFormat: metricTick(goal.metric)}, marks: [
      goal.value == null ? null : Plot.ruleY([goal.value], {stroke: 'var(--target)', strokeWidth: 1.5, strokeDasharray: '5 4'}),
      goal.value == null ? null : Plot.text([goal.value], {y: d => d, text: d => `target ${metricTick(goal.metric)(d)}`,
        frameAnchor: 'left', dx: 4, dy: 9, textAnchor: 'start', fill: 'var(--target)'}),
      Plot.line(lines, {x: 'x', y: 'y', z: 'line', stroke: 'colour', strokeOpacity: opacity, strokeWidth: 1.6}),
      Plot.dot(lines, {x: 'x', y: 'y', z: 'line', fill: 'colour', fillOpacity: opacity, r: point => point.run.points.length === 1 ? 4 : runs > 12 ? 1.8 : 3,
        title: p => `${p.run.run}, seed ${p.run.seed}\n${metric(goal.metric, p.y)}\n${axis === 'epoch' ? `epoch ${p.x}` : seconds(p.x)}`, tip: true})]});
}

/** Where the time went: a bar a run, or the mean of an entry where there are many bars. */
function spans(holder, chosen) {
  const single = chosen.length === 1 && chosen[0].detail.runs.length <= 40;
  const bars = chosen.flatMap(({row, detail}) => {
    const found = detail.runs.filter(run => Object.keys(run.spans).length);
    if (single) return found.map(run => ({bar: run.run, spans: run.spans}));
    const total = name => d3.sum(found, run => run.spans[name] ?? 0) / found.length;
    return found.length ? [{bar: row.id, spans: Object.fromEntries(SPANS.map(name => [name, total(name)]))}] : [];
  });
  const parts = bars.flatMap(({bar, spans}) => [...new Set([...SPANS, ...Object.keys(spans)])].filter(name => spans[name] > 0)
    .map(name => ({bar, name, seconds: spans[name], wall: d3.sum(Object.values(spans))})));
  if (!parts.length) return;
  const names = SPANS.filter(name => parts.some(part => part.name === name));
  chart(holder, single ? 'Where the time went' : 'Where the time went, mean over runs', {
    height: 56 + Math.max(20, Math.min(34, 460 / bars.length)) * bars.length, marginBottom: 40, marginLeft: single && bars.length > 1 ? 62 : 12,
    x: {label: 'seconds', nice: true, ticks: 6}, y: {label: null, domain: bars.map(bar => bar.bar), axis: single && bars.length > 1 ? 'left' : null},
    color: {domain: SPANS, range: SPAN_COLOURS, unknown: 'var(--span-unattributed)'}, marks: [
      Plot.barX(parts, Plot.stackX({y: 'bar', x: 'seconds', fill: 'name', order: SPANS, insetTop: single ? 1 : 14, insetBottom: 1,
        title: part => `${part.name}\n${seconds(part.seconds)}, ${(100 * part.seconds / part.wall).toFixed(1)} %\n${part.bar}`, tip: true})),
      single ? null : Plot.text(bars, {y: 'bar', x: 0, text: bar => bar.bar, textAnchor: 'start', dy: -9, dx: 2, fill: 'var(--ink)'})]});
  holder.append(legend(names.map(name => {
    const mean = d3.sum(parts.filter(part => part.name === name), part => part.seconds) / d3.sum(parts, part => part.seconds);
    return [`${words(name)} ${(100 * mean).toFixed(1)} %`, `var(--span-${name})`, 'box'];
  })));
}

/** One dot a run: how values spread over seeds, with the quartiles. */
function distribution(holder, title, chosen, value, {format, rule, digits}) {
  const dots = chosen.flatMap(({row, detail, place, colour}) => detail.runs.map(run => ({
    entry: row.id, name: row.name, run, colour, value: value(run, place)})).filter(dot => dot.value != null));
  if (dots.length < 2) return;
  const entries = [...new Set(dots.map(dot => dot.entry))];
  const box = entry => dots.filter(dot => dot.entry === entry).length >= 5;
  chart(holder, title, {
    height: 50 + 74 * entries.length, marginLeft: 12, x: {label: null, nice: true, grid: true, tickFormat: digits, ticks: holder.clientWidth < 420 ? 3 : 5, ...far(chosen, dots.map(dot => dot.value))},
    fy: {label: null, domain: entries, axis: null}, marks: [
      rule == null ? null : Plot.ruleX([rule], {stroke: 'var(--target)', strokeWidth: 1.5, strokeDasharray: '5 4'}),
      Plot.boxX(dots.filter(dot => box(dot.entry)), {fy: 'entry', x: 'value', fill: 'var(--box)', stroke: 'var(--soft)', r: 0}),
      Plot.dot(dots, Plot.dodgeY({anchor: 'middle', fy: 'entry', x: 'value', r: 3.5, fill: 'colour', fillOpacity: 0.85,
        title: dot => `${dot.run.run}, seed ${dot.run.seed}\n${format(dot.value)}`, tip: true})),
      chosen.length > 1 ? Plot.text(entries, {fy: entry => entry, frameAnchor: 'top-left', text: entry => entry, fill: 'var(--ink)'}) : null]});
}
