// The log of a build: lines by step, live, folded, searched, and only those on screen are in the page.
// Lines come as server-sent events; after a break the browser goes on from the last id.

import { lastReturn, plain, render, shownLength } from './ansi.js';
import { announce, durationText, renew } from './slipway.js';

const LINE = 20;
const HEAD = 28;
const MAX_LINES = 120000;
const MAX_PENDING = 1 << 20;
const SHAPES = { pending: '○', running: '◐', success: '●', failed: '✕', cancelled: '⊘' };
const PHASES = ['checkout', 'build', 'test', 'push', ''];
const TONES = { pending: 'queued', running: 'running', success: 'success', failed: 'failed', cancelled: 'cancelled' };

const section = document.getElementById('log');
const part = (name) => section.querySelector(`[data-log="${name}"]`);
const view = part('view');
const space = document.createElement('div');
space.className = 'log-space';

/** Steps in order of their first sight: `{id, name, state, cached, lines, partial, open, touched, number}`. */
const groups = [];
const byId = new Map();
let total = 0;
let dropped = 0;
let buildState = section.dataset.state;
let flat = [];        // [group, index] for each visible row; index -1 is the head
let tops = [];        // top of each row in px
let height = 0;
let columns = 0;
let characterWidth = 7.5;
let layoutWanted = false;
let paintWanted = false;
let query = '';
let found = [];       // [group, index, from, to]
let current = -1;
let target = null;

function group(id) {
  const key = id ?? '';
  let entry = byId.get(key);
  if (!entry) {
    entry = { id: key, name: key === '' ? 'Slipway' : key, state: 'running', cached: false, started: 0, finished: 0, lines: [], partial: '', open: true, touched: false, phase: '', arrived: groups.length, number: groups.length + 1 };
    byId.set(key, entry);
    groups.push(entry);
  }
  return entry;
}

function takeStep(step) {
  const entry = group(step.id);
  const before = entry.state;
  entry.name = step.name || entry.name;
  entry.phase = PHASES.includes(step.phase) ? step.phase : '';
  entry.state = step.state || entry.state;
  entry.cached = Boolean(step.cached);
  entry.started = Date.parse(step.started_at) || 0;
  entry.finished = Date.parse(step.finished_at) || 0;
  if (entry.state === 'failed') { entry.open = true; if (before !== 'failed' && before !== 'pending') announce(`Step failed: ${entry.name}`); }
  // When the build is over, only what failed stays open.
  else if (!entry.touched && isFinal() && groups.some((other) => other.state === 'failed')) entry.open = false;
}

const isFinal = () => ['success', 'failed', 'cancelled'].includes(buildState);

function takeText(stepId, text) {
  const entry = group(stepId);
  const lines = (entry.partial + text).split('\n');
  entry.partial = lines.pop();
  // A line without an end must not fill the memory.
  if (entry.partial.length > MAX_PENDING) { lines.push(entry.partial); entry.partial = ''; }
  for (const line of lines) pushLine(entry, line);
}

function pushLine(entry, raw) {
  const line = lastReturn(raw);
  const text = plain(line);
  // Most lines have no escapes; then one string serves for both.
  entry.lines.push(text === line ? line : { raw: line.length > 65536 ? line.slice(0, 65536) : line, text });
  total += 1;
  if (query) match(entry, entry.lines.length - 1);
  if (total > MAX_LINES) {
    const longest = groups.reduce((a, b) => (b.lines.length > a.lines.length ? b : a));
    const cut = Math.ceil(longest.lines.length / 10);
    longest.lines.splice(0, cut);
    longest.cut = (longest.cut ?? 0) + cut;
    total -= cut;
    dropped += cut;
    if (query) search(query);
  }
}

const textOf = (line) => (typeof line === 'string' ? line : line.text);
const rawOf = (line) => (typeof line === 'string' ? line : line.raw);

function flush() {
  for (const entry of groups) if (entry.partial) { pushLine(entry, entry.partial); entry.partial = ''; }
}

function layout() {
  layoutWanted = false;
  const wrap = part('wrap').checked;
  const numberWidth = matchMedia('(max-width: 720px)').matches ? 44 : 64;
  columns = wrap ? Math.max(10, Math.floor((view.clientWidth - numberWidth - 12) / characterWidth)) : 0;
  flat = [];
  tops = [];
  let top = 0;
  // In the order of their work, whatever the order of their first lines; numbers follow, so links of an ended build stay true.
  groups.sort((a, b) => (a.id !== '') - (b.id !== '') || PHASES.indexOf(a.phase) - PHASES.indexOf(b.phase) || (a.started || Infinity) - (b.started || Infinity) || a.arrived - b.arrived);
  groups.forEach((entry, i) => { entry.number = i + 1; });
  for (const entry of groups) {
    if (!entry.lines.length && !entry.partial && entry.id === '') continue;
    flat.push([entry, -1]);
    tops.push(top);
    top += HEAD;
    if (!entry.open) continue;
    for (let i = 0; i < entry.lines.length; i += 1) {
      flat.push([entry, i]);
      tops.push(top);
      const length = columns ? shownLength(textOf(entry.lines[i])) : 0;
      top += length > columns && columns ? Math.ceil(length / columns) * LINE : LINE;
    }
  }
  height = top;
  space.style.height = `${height}px`;
  if (part('follow').checked) view.scrollTop = height;
  paint();
}

function rowAt(y) {
  let low = 0;
  let high = tops.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tops[middle] <= y) low = middle; else high = middle - 1;
  }
  return low;
}

function paint() {
  paintWanted = false;
  const from = Math.max(0, rowAt(view.scrollTop) - 10);
  const to = Math.min(flat.length, rowAt(view.scrollTop + view.clientHeight) + 20);
  const focused = space.contains(document.activeElement) ? document.activeElement.dataset.row : null;
  const rows = [];
  for (let i = from; i < to; i += 1) {
    const [entry, index] = flat[i];
    const row = index < 0 ? headRow(entry) : lineRow(entry, index);
    row.style.transform = `translateY(${tops[i]}px)`;
    if (index >= 0) row.style.height = `${(tops[i + 1] ?? height) - tops[i]}px`;
    rows.push(row);
  }
  space.replaceChildren(...rows);
  if (focused) space.querySelector(`[data-row="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function headRow(entry) {
  const row = document.createElement('button');
  row.type = 'button';
  row.className = 'log-row log-head';
  row.dataset.row = `s${entry.number}`;
  row.setAttribute('aria-expanded', String(entry.open));
  const caret = document.createElement('span');
  caret.className = 'log-caret';
  caret.textContent = '⌄';
  caret.setAttribute('aria-hidden', 'true');
  const state = document.createElement('span');
  state.className = `state state-${TONES[entry.state] ?? 'queued'}`;
  const shape = document.createElement('span');
  shape.textContent = SHAPES[entry.state] ?? '○';
  shape.setAttribute('aria-hidden', 'true');
  shape.className = 'icon';
  state.append(shape);
  const name = document.createElement('span');
  name.className = 'log-head-name';
  name.textContent = plain(entry.name).slice(0, 300);
  const end = document.createElement('span');
  end.className = 'log-head-end';
  const time = entry.started ? durationText((entry.finished || Date.now()) - entry.started) : '';
  end.textContent = [entry.cached ? 'cached' : entry.state, entry.cached ? '' : time, entry.lines.length ? `${entry.lines.length} ${entry.lines.length === 1 ? 'line' : 'lines'}` : ''].filter(Boolean).join(' · ');
  row.append(caret, state, name, end);
  row.addEventListener('click', () => { entry.open = !entry.open; entry.touched = true; layout(); });
  return row;
}

function lineRow(entry, index) {
  const row = document.createElement('div');
  const number = index + 1 + (entry.cut ?? 0);
  const anchor = `s${entry.number}-L${number}`;
  row.className = anchor === target ? 'log-row log-target' : 'log-row';
  const link = document.createElement('a');
  link.className = 'log-number';
  link.href = `#${anchor}`;
  link.dataset.row = anchor;
  link.tabIndex = -1;
  link.textContent = String(number);
  link.setAttribute('aria-label', `Line ${number}`);
  const text = document.createElement('span');
  text.className = 'log-text';
  const marks = [];
  if (query) {
    const first = found.findIndex((hit) => hit[0] === entry && hit[1] === index);
    for (let i = first; i >= 0 && i < found.length && found[i][0] === entry && found[i][1] === index; i += 1) marks.push([found[i][2], found[i][3], i === current]);
  }
  render(text, rawOf(entry.lines[index]), marks);
  row.append(link, text);
  return row;
}

function wantLayout() {
  if (layoutWanted) return;
  layoutWanted = true;
  setTimeout(() => requestAnimationFrame(layout), 80);
}

function wantPaint() {
  if (paintWanted) return;
  paintWanted = true;
  requestAnimationFrame(paint);
}

function match(entry, index) {
  const text = textOf(entry.lines[index]).toLowerCase();
  for (let at = text.indexOf(query); at >= 0 && found.length < 10000; at = text.indexOf(query, at + query.length)) found.push([entry, index, at, at + query.length]);
}

function search(text) {
  query = text.toLowerCase();
  found = [];
  current = -1;
  if (query) for (const entry of groups) for (let i = 0; i < entry.lines.length; i += 1) match(entry, i);
  if (found.length) go(0); else { showFound(); wantPaint(); }
}

function showFound() {
  part('found').textContent = query ? (found.length ? `${current + 1} of ${found.length}${found.length >= 10000 ? '+' : ''}` : 'not found') : '';
}

function go(to) {
  if (!found.length) return;
  current = (to + found.length) % found.length;
  showFound();
  show(found[current][0], found[current][1]);
}

function show(entry, index) {
  part('follow').checked = false;
  entry.open = true;
  entry.touched = true;
  layout();
  const row = flat.findIndex(([other, i]) => other === entry && i === index);
  if (row >= 0) view.scrollTop = Math.max(0, tops[row] - view.clientHeight / 3);
  paint();
}

function showTarget() {
  const parts = /^#s(\d+)-L(\d+)$/.exec(location.hash);
  if (!parts) return false;
  const entry = groups[Number(parts[1]) - 1];
  const index = Number(parts[2]) - 1 - (entry?.cut ?? 0);
  if (!entry || !entry.lines[index]) return false;
  target = location.hash.slice(1);
  show(entry, index);
  section.scrollIntoView({ block: 'start' });
  return true;
}

let renewTimer = 0;
function renewTop(delay) {
  if (renewTimer) return;
  renewTimer = setTimeout(async () => {
    renewTimer = 0;
    try { await renew(['build-top']); } catch { /* the next event tries again */ }
    const top = document.getElementById('build-top');
    if (top && top.dataset.state !== buildState) {
      buildState = top.dataset.state;
      announce(`Build ${top.dataset.label}: ${buildState}`);
    }
  }, delay);
}

function status(text) { part('status').textContent = text; }

function listen() {
  const source = new EventSource(section.dataset.stream);
  const json = (event) => { try { return JSON.parse(event.data); } catch { return null; } };
  let targeted = false;
  source.addEventListener('open', () => status(isFinal() ? '' : 'live'));
  source.addEventListener('log', (event) => {
    const data = json(event);
    if (!data) return;
    for (const item of Array.isArray(data) ? data : [data]) takeText(item.step, String(item.text ?? ''));
    wantLayout();
    if (!targeted && location.hash.startsWith('#s')) setTimeout(() => { if (!targeted) targeted = showTarget(); }, 200);
  });
  source.addEventListener('step', (event) => {
    const data = json(event);
    if (data) { takeStep(data.step ?? data); wantLayout(); renewTop(700); }
  });
  source.addEventListener('build', (event) => {
    const data = json(event);
    if (data?.state && data.state !== buildState) { buildState = data.state; announce(`Build ${buildState}`); }
    renewTop(150);
  });
  source.addEventListener('end', (event) => {
    source.close();
    const data = json(event);
    if (data?.state) buildState = data.state;
    flush();
    // A step whose end was never told ended with the build.
    for (const entry of groups) if (entry.state === 'running' || entry.state === 'pending') entry.state = buildState === 'success' ? 'success' : 'cancelled';
    const failed = groups.find((entry) => entry.state === 'failed');
    if (failed) for (const entry of groups) if (!entry.touched && entry !== failed) entry.open = false;
    part('follow').checked = false;
    status(total === 0 ? 'This build has written nothing.' : dropped ? `The first ${dropped} lines are in the download only` : '');
    layout();
    // Of a step that failed, the last lines say why.
    const last = flat.findLastIndex(([entry]) => entry === failed);
    if (last >= 0 && !target && !targeted && !location.hash.startsWith('#s')) { view.scrollTop = tops[last] + LINE * 2 - view.clientHeight; paint(); }
    if (!targeted && location.hash.startsWith('#s')) targeted = showTarget();
    renewTop(100);
  });
  source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) { status('The live log ended. Reload the page to go on.'); flush(); wantLayout(); } else status('connecting again…');
  });
}

function start() {
  section.querySelector('.log-tools').hidden = false;
  view.hidden = false;
  view.append(space);
  const probe = document.createElement('span');
  probe.className = 'log-row';
  probe.textContent = 'm'.repeat(100);
  space.append(probe);
  characterWidth = probe.getBoundingClientRect().width / 100 > 20 ? 7.5 : measure();
  probe.remove();
  try { for (const step of JSON.parse(section.dataset.steps)) takeStep(step); } catch { /* the stream brings them */ }
  part('follow').checked = !isFinal() && !location.hash.startsWith('#s');
  view.addEventListener('scroll', () => {
    const atEnd = view.scrollTop + view.clientHeight >= height - 40;
    if (!atEnd && part('follow').checked && view.matches(':hover, :focus-within')) part('follow').checked = false;
    wantPaint();
  }, { passive: true });
  part('follow').addEventListener('change', () => layout());
  part('wrap').addEventListener('change', () => { view.classList.toggle('log-wrap', part('wrap').checked); layout(); });
  part('fold').addEventListener('click', () => {
    const open = groups.every((entry) => !entry.open);
    for (const entry of groups) { entry.open = open; entry.touched = true; }
    part('fold').textContent = open ? 'Fold all' : 'Unfold all';
    layout();
  });
  let searchTimer = 0;
  const input = document.getElementById('log-search');
  input.addEventListener('input', () => { clearTimeout(searchTimer); searchTimer = setTimeout(() => search(input.value), 150); });
  input.addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); go(current + (event.shiftKey ? -1 : 1)); } });
  part('next').addEventListener('click', () => go(current + 1));
  part('previous').addEventListener('click', () => go(current - 1));
  window.addEventListener('hashchange', showTarget);
  window.addEventListener('resize', wantLayout);
  document.addEventListener('click', (event) => {
    const link = event.target.closest?.('[data-step]');
    const entry = link && byId.get(link.dataset.step);
    if (!entry) return;
    entry.open = true;
    entry.touched = true;
    layout();
    const row = flat.findIndex(([other, i]) => other === entry && i === -1);
    if (row >= 0) view.scrollTop = tops[row];
  });
  layout();
  listen();
}

function measure() {
  const span = document.createElement('span');
  span.textContent = 'm'.repeat(100);
  span.style.whiteSpace = 'pre';
  span.style.position = 'absolute';
  space.append(span);
  const width = span.getBoundingClientRect().width / 100;
  span.remove();
  return width || 7.5;
}

start();
