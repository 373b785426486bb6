// The log of a build: lines by step, live, folded, searched, and only those on screen are in the page.
// Lines come as server-sent events; after a break the browser goes on from the last id. Of a long log the end is held here; other parts
// are fetched when somebody goes there, and the whole is searched by the server.

import { carried, lastReturn, plain, render, shownLength } from './ansi.js';
import { announce, durationText, renew } from './slipway.js';

const LINE = 20;
const HEAD = 28;
const MAX_LINES = 60000;
const MAX_LINE = 65536;
const MAX_FOUND = 10000;
const TAIL = 4 << 20;
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
let buildState = section.dataset.state;
let flat = [];        // [group, index] for each visible row; index -1 is the head
let tops = [];        // top of each row in px
let height = 0;
let columns = 0;
let characterWidth = 7.5;
let layoutWanted = false;
let paintWanted = false;
let query = '';
let found = [];       // {id, line}: the step and the number of the line in it
let foundKeys = new Set();
let foundMore = false;
let searches = 0;
let current = -1;
let target = null;
let source = null;
let piecesShown = null;     // {first, last, earlier, later}: which pieces are shown instead of the end of the log

function group(id) {
  const key = id ?? '';
  let entry = byId.get(key);
  if (!entry) {
    entry = { id: key, name: key === '' ? 'Slipway' : key, state: 'running', cached: false, started: 0, finished: 0, lines: [], partial: '', colours: '', cut: 0, open: true, touched: false, phase: '', arrived: groups.length, number: groups.length + 1 };
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
  // A line without an end must not fill the memory.
  entry.partial = lines.pop().slice(0, MAX_LINE);
  for (const line of lines) pushLine(entry, line);
}

function pushLine(entry, raw) {
  const line = (entry.colours + lastReturn(raw)).slice(0, MAX_LINE);
  if (raw.includes('\x1b')) entry.colours = carried(entry.colours, raw.slice(0, MAX_LINE));
  const text = plain(line);
  // Most lines have no escapes; then one string serves for both.
  entry.lines.push(text === line ? line : { raw: line, text });
  total += 1;
  if (query) match(entry, entry.lines.length - 1);
  if (total > MAX_LINES) {
    const longest = groups.reduce((a, b) => (b.lines.length > a.lines.length ? b : a));
    const cut = Math.ceil(longest.lines.length / 10);
    longest.lines.splice(0, cut);
    longest.cut += cut;
    total -= cut;
  }
}

const textOf = (line) => (typeof line === 'string' ? line : line.text);
const rawOf = (line) => (typeof line === 'string' ? line : line.raw);

function flush() {
  for (const entry of groups) if (entry.partial) { pushLine(entry, entry.partial); entry.partial = ''; }
}

/** Forgets the lines, not the steps. `before` says how many lines of each step stand in front of what comes. */
function begin(before) {
  for (const entry of groups) Object.assign(entry, { lines: [], partial: '', colours: '', cut: 0 });
  for (const [id, lines] of Object.entries(before)) group(id).cut = Number(lines) || 0;
  total = 0;
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
  showPart();
  paint();
}

/** Says when not all of the log is here, and leads to the rest. */
function showPart() {
  const cut = groups.some((entry) => entry.cut > 0);
  part('part').hidden = !piecesShown && !cut;
  part('part-words').textContent = piecesShown ? 'This is a part of a long log.' : 'This is the end of a long log.';
  part('earlier').hidden = piecesShown ? !piecesShown.earlier : !cut;
  part('later').hidden = !piecesShown?.later;
  part('newest').hidden = !piecesShown;
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

function lineCount(entry) {
  const lines = entry.lines.length + entry.cut;
  if (!lines) return '';
  // In a part, how many follow is not known.
  if (piecesShown) return entry.lines.length ? `lines ${entry.cut + 1} to ${lines}` : '';
  return `${lines} ${lines === 1 ? 'line' : 'lines'}`;
}

function headRow(entry) {
  const row = document.createElement('div');
  row.className = 'log-row log-head';
  const fold = document.createElement('button');
  fold.type = 'button';
  fold.className = 'log-fold';
  fold.dataset.row = `s${entry.number}`;
  fold.setAttribute('aria-expanded', String(entry.open));
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
  end.textContent = [entry.cached ? 'cached' : entry.state, entry.cached ? '' : time, lineCount(entry)].filter(Boolean).join(' · ');
  fold.append(caret, state, name, end);
  fold.addEventListener('click', () => { entry.open = !entry.open; entry.touched = true; layout(); });
  row.append(fold);
  if (entry.lines.length + entry.cut) row.append(downloadLink(entry, name.textContent));
  return row;
}

function downloadLink(entry, name) {
  const link = document.createElement('a');
  link.className = 'log-download';
  link.href = `${section.dataset.log}?${new URLSearchParams({ step: entry.id })}`;
  link.download = `step-${entry.number}.log`;
  link.dataset.row = `d${entry.number}`;
  link.textContent = '↓';
  link.title = 'Download the log of this step';
  link.setAttribute('aria-label', `Download the log of ${name}`);
  return link;
}

function lineRow(entry, index) {
  const row = document.createElement('div');
  const number = index + 1 + entry.cut;
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
    const shown = textOf(entry.lines[index]).toLowerCase();
    const here = found[current]?.id === entry.id && found[current].line === number;
    for (let at = shown.indexOf(query); at >= 0 && marks.length < 100; at = shown.indexOf(query, at + query.length)) marks.push([at, at + query.length, here]);
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
  if (textOf(entry.lines[index]).toLowerCase().includes(query)) add(entry.id, index + 1 + entry.cut);
}

function add(id, line) {
  const key = `${line} ${id}`;
  if (foundKeys.has(key)) return;
  if (found.length >= MAX_FOUND) { foundMore = true; return; }
  foundKeys.add(key);
  found.push({ id, line });
}

async function search(text) {
  query = text.toLowerCase();
  found = [];
  foundKeys = new Set();
  foundMore = false;
  current = -1;
  searches += 1;
  const mine = searches;
  if (query && (piecesShown || groups.some((entry) => entry.cut > 0))) {
    part('found').textContent = 'searching…';
    try {
      const answer = await ask('search', { q: text });
      if (mine !== searches) return;
      for (const { step, line } of answer.items) add(step, line);
      foundMore ||= answer.more;
      const order = (hit) => byId.get(hit.id)?.number ?? 0;
      found.sort((a, b) => order(a) - order(b) || a.line - b.line);
    } catch {
      if (mine === searches) part('found').textContent = 'the search failed';
      return;
    }
  } else if (query) for (const entry of groups) for (let i = 0; i < entry.lines.length; i += 1) match(entry, i);
  if (found.length) go(0); else { showFound(); wantPaint(); }
}

function showFound() {
  part('found').textContent = query ? (found.length ? `${current + 1} of ${found.length}${foundMore ? '+' : ''} lines` : 'not found') : '';
}

function go(to) {
  if (!found.length) return;
  current = (to + found.length) % found.length;
  showFound();
  reveal(found[current].id, found[current].line);
}

/** Shows a line, wherever in the log it is. */
async function reveal(id, line) {
  const here = () => { const entry = byId.get(id); return entry && entry.lines[line - 1 - entry.cut] !== undefined ? entry : null; };
  if (!here() && (piecesShown || byId.get(id)?.cut >= line)) await fetchPart({ step: id, line });
  const entry = here();
  if (entry) show(entry, line - 1 - entry.cut);
  return Boolean(entry);
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

async function ask(what, query) {
  const answer = await fetch(`${section.dataset.log}/${what}?${new URLSearchParams(query)}`, { credentials: 'same-origin' });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

/** Shows another part of the log than its end; false when it cannot be had. */
async function fetchPart(place) {
  let answer;
  try { answer = await ask('pieces', place); } catch { status('That part of the log cannot be read now.'); return false; }
  if (!answer.items.length) return false;
  piecesShown = { first: answer.items[0].seq, last: answer.items.at(-1).seq, earlier: answer.earlier, later: answer.later };
  part('follow').checked = false;
  begin(answer.lines);
  for (const item of answer.items) takeText(item.step, String(item.text ?? ''));
  flush();
  layout();
  return true;
}

async function earlier() {
  if (piecesShown) {
    if (await fetchPart({ before: piecesShown.first })) { view.scrollTop = height; paint(); }
    return;
  }
  const longest = groups.reduce((a, b) => (b.cut > a.cut ? b : a));
  await reveal(longest.id, longest.cut);
}

async function later() {
  if (await fetchPart({ after: piecesShown.last })) { view.scrollTop = 0; paint(); }
}

function newest() {
  piecesShown = null;
  source?.close();
  begin({});
  part('follow').checked = true;
  listen();
}

let revealing = false;
async function showTarget() {
  const parts = /^#s(\d+)-L(\d+)$/.exec(location.hash);
  const entry = parts && groups[Number(parts[1]) - 1];
  if (!entry || revealing) return;
  revealing = true;
  target = location.hash.slice(1);
  if (await reveal(entry.id, Number(parts[2]))) section.scrollIntoView({ block: 'start' });
  else target = null;
  revealing = false;
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
  source = new EventSource(`${section.dataset.log}/stream?tail=${TAIL}`);
  const on = (name, take) => source.addEventListener(name, (event) => {
    let data = null;
    try { data = JSON.parse(event.data); } catch { return; }
    take(data);
  });
  source.addEventListener('open', () => status(isFinal() ? '' : 'live'));
  on('skipped', (data) => { if (!piecesShown) begin(data.lines); });
  on('reset', () => {
    piecesShown = null;
    groups.length = 0;
    byId.clear();
    begin({});
    wantLayout();
  });
  on('log', (data) => {
    // Somebody reads another part; the end is fetched again when they come back.
    if (piecesShown) { piecesShown.later = true; showPart(); return; }
    takeText(data.step, String(data.text ?? ''));
    wantLayout();
    if (!target && location.hash.startsWith('#s')) setTimeout(() => { if (!target) showTarget(); }, 200);
  });
  on('step', (data) => { takeStep(data); wantLayout(); renewTop(700); });
  on('state', (data) => {
    if (data.state !== buildState) renewTop(150);
  });
  on('end', (data) => {
    source.close();
    buildState = data.state;
    if (!piecesShown) flush();
    // A step whose end was never told ended with the build.
    for (const entry of groups) if (entry.state === 'running' || entry.state === 'pending') entry.state = buildState === 'success' ? 'success' : 'cancelled';
    const failed = groups.find((entry) => entry.state === 'failed');
    if (failed) for (const entry of groups) if (!entry.touched && entry !== failed) entry.open = false;
    const following = part('follow').checked;
    part('follow').checked = false;
    status(total === 0 ? 'This build has written nothing.' : '');
    layout();
    // Of a step that failed, the last lines say why.
    const last = flat.findLastIndex(([entry]) => entry === failed);
    if (location.hash.startsWith('#s')) { if (!target) showTarget(); }
    else if (following && !failed && !piecesShown) { view.scrollTop = height; paint(); }
    else if (last >= 0 && !piecesShown) { view.scrollTop = tops[last] + LINE * 2 - view.clientHeight; paint(); }
    renewTop(100);
  });
  source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) { status('The live log ended. Reload the page to go on.'); if (!piecesShown) flush(); wantLayout(); } else status('connecting again…');
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
  for (const [name, act] of [['earlier', earlier], ['later', later], ['newest', newest]]) part(name).addEventListener('click', act);
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
