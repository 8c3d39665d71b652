/* Elements, numbers and words. Whatever comes from data enters the document as text nodes: h() makes them of strings. */
'use strict';

/** An element with attributes (`onclick` and the like are listeners) and children, nested lists of nodes and strings. */
function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value != null && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(9).filter(child => child != null && child !== false));
  return element;
}

/** A link that opens nothing but a web page, whatever the data say. */
function link(address) {
  return /^https?:\/\//.test(address) ? h('a', {href: address, rel: 'noopener noreferrer'}, address) : String(address);
}

/** A name that may be broken at its underscores, dashes and slashes, on a narrow screen. */
const breakable = name => name.split(/(?<=[_\/-])/).flatMap((part, number) => number ? [h('wbr'), part] : [part]);

const significant = digits => value => value.toLocaleString('en', {maximumSignificantDigits: digits});
const three = significant(3), four = significant(4);
const METRICS = {accuracy: 'top-1 accuracy', top5_accuracy: 'top-5 accuracy', f1: 'F1', mlm_accuracy: 'masked-word accuracy'};
const KINDS = {run: 'run', set: 'set of runs', inference: 'inference', dawnbench: 'DAWNBench history', mlperf: 'MLPerf history'};
const KIND_NOTES = {
  dawnbench: 'History: as its submitter reported it, one chosen run. DAWNBench closed in 2020; not verified again here.',
  mlperf: 'History: MLPerf Training’s published result, not one of this project, which has nothing verified by MLCommons Association.',
};
const isHistory = row => row.kind === 'dawnbench' || row.kind === 'mlperf';
const words = name => name.replaceAll('_', ' ');
const metricName = name => METRICS[name] ?? words(name ?? 'no metric');
const none = '–';

function seconds(value) {
  if (value == null) return none;
  if (value < 59.95) return `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  const minutes = Math.round(value / 60);
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.round(minutes % 1440 / 60)} h`;
}

/** Marks of a logarithmic axis of seconds, since powers of ten say little beyond a minute. */
const TIMES = new Map([[0.01, '10 ms'], [0.1, '0.1 s'], [1, '1 s'], [10, '10 s'], [60, '1 min'], [600, '10 min'], [3600, '1 h'],
  [36e3, '10 h'], [86400, '1 day'], [864e3, '10 days'], [864e4, '100 days']]);

const usd = value => value == null ? none
  : '$' + (value >= 100 ? Math.round(value).toLocaleString('en') : value >= 1 ? value.toFixed(2) : significant(2)(value));
const milliseconds = value => value == null ? none : `${three(value)} ms`;
const metric = (name, value) => value == null ? none : name === 'f1' ? value.toFixed(4) : `${(100 * value).toFixed(2)} %`;

const metricTick = name => value => name === 'f1' ? String(+value.toFixed(4)) : `${+(100 * value).toFixed(2)} %`;

function goalText(goal) {
  if (goal.value == null) return metricName(goal.metric);
  const value = goal.metric === 'f1' ? goal.value : `${+(100 * goal.value).toFixed(4)} %`;
  return `${metricName(goal.metric)} ≥ ${value}` + (goal.of ? ` of ${goal.of.toLocaleString('en')}` : '');
}

const goalKey = goal => `${goal.metric}:${goal.value}:${goal.of}`;

/** Nested facts as lines: ['hardware.device_kind', 'cpu']. */
function flatten(value, path = '') {
  if (value === null || typeof value !== 'object') return [[path, value === null ? 'none' : String(value)]];
  if (Array.isArray(value)) return [[path, value.map(one => typeof one === 'object' ? JSON.stringify(one) : one).join(', ')]];
  const inner = Object.entries(value);
  return inner.length ? inner.flatMap(([key, one]) => flatten(one, path ? `${path}.${key}` : key)) : [[path, 'none']];
}

/** An argument as a POSIX shell takes it. */
const quoted = text => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
