/* Elements, numbers and words. Whatever comes from data enters the document as text: h() makes nodes of it. */
'use strict';

const METRICS = {
  accuracy: 'top-1 accuracy', top5_accuracy: 'top-5 accuracy', f1: 'F1', mlm_accuracy: 'masked-word accuracy',
};
const KINDS = {
  run: '1 run', set: 'set of runs', inference: 'inference', dawnbench: 'DAWNBench history', mlperf: 'MLPerf history',
};
const KIND_NOTES = {
  dawnbench: 'History: as its submitter reported it, one chosen run. DAWNBench closed in 2020; not verified '
    + 'again here.',
  mlperf: 'History: a published result of MLPerf Training by others. Nothing of this project is verified by MLCommons '
    + 'Association.',
};

/** Marks of a logarithmic axis of seconds, since powers of ten say little beyond a minute. */
const TIMES = new Map([[0.01, '10 ms'], [0.1, '0.1 s'], [1, '1 s'], [10, '10 s'], [60, '1 min'], [600, '10 min'],
  [3600, '1 h'], [36e3, '10 h'], [86400, '1 day'], [864e3, '10 days'], [864e4, '100 days']]);

/** An element with attributes (`onclick` and the like are listeners) and children: nodes, strings, lists of them. */
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
  const web = /^https?:\/\//.test(address);
  return web ? h('a', {href: address, rel: 'noopener noreferrer'}, address) : String(address);
}

/** A name that may be broken at its underscores, dashes, slashes and after a word's dot, on a narrow screen. */
const breakable = name =>
  name.split(/(?<=[_\/-]|[a-z]\.)/).flatMap((part, number) => number ? [h('wbr'), part] : [part]);

/** What an object holds under a name that data chose: `constructor` is no key of it. */
const own = (object, name) => Object.hasOwn(object, name) ? object[name] : undefined;

const none = '–';
const significant = digits => value => value.toLocaleString('en', {maximumSignificantDigits: digits});
const two = significant(2), three = significant(3), four = significant(4);
const counted = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
const words = name => name.replaceAll('_', ' ');
const metricName = name => own(METRICS, name) ?? words(name ?? 'no metric');
const isHistory = row => row.kind === 'dawnbench' || row.kind === 'mlperf';

function seconds(value) {
  if (value == null) return none;
  if (value < 59.95) return `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`;
  const whole = Math.round(value), minutes = Math.round(value / 60);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor(minutes % 1440 / 60)} h`;
}

function usd(value) {
  if (value == null) return none;
  return '$' + (value >= 100 ? Math.round(value).toLocaleString('en') : value >= 1 ? value.toFixed(2) : two(value));
}

const milliseconds = value => value == null ? none : `${three(value)} ms`;
const percent = value => `${(100 * value).toFixed(1)} %`;
const metric = (name, value) => value == null ? none
  : name === 'f1' ? value.toFixed(4) : `${(100 * value).toFixed(2)} %`;
const metricTick = name => value => name === 'f1' ? String(+value.toFixed(4)) : `${+(100 * value).toFixed(2)} %`;

const goalKey = goal => `${goal.metric}:${goal.value}:${goal.of}`;
const goalValue = goal => `≥ ${goal.metric === 'f1' ? goal.value : `${+(100 * goal.value).toFixed(4)} %`}`
  + (goal.of ? ` of ${goal.of.toLocaleString('en')}` : '');
const goalText = goal => metricName(goal.metric) + (goal.value == null ? '' : ` ${goalValue(goal)}`);

/** Nested facts as lines: ['hardware.device_kind', 'cpu']. */
function flatten(value, path = '') {
  if (value === null || typeof value !== 'object') return [[path, value === null ? 'none' : String(value)]];
  if (Array.isArray(value)) {
    return [[path, value.map(one => typeof one === 'object' ? JSON.stringify(one) : one).join(', ')]];
  }
  const inner = Object.entries(value);
  return inner.length ? inner.flatMap(([key, one]) => flatten(one, path ? `${path}.${key}` : key)) : [[path, 'none']];
}

/** An argument as a POSIX shell takes it. */
const quoted = text => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`;

/** Ids in one word of the address, and back; a name may hold the bar between them, which is escaped as in RFC 6901. */
const joinIds = ids => ids.map(id => id.replaceAll('~', '~0').replaceAll('|', '~1')).join('|');
const splitIds = text => (text ?? '').split('|').filter(Boolean)
  .map(id => id.replaceAll('~1', '|').replaceAll('~0', '~'));
