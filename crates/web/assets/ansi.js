// Lines of a hostile log as plain pieces of text with a style. Only colours and weights are understood; every other escape sequence,
// links (OSC 8) and the clipboard (OSC 52) among them, is dropped. Nothing here makes HTML.

const MAX_SHOWN = 4000;
const MAX_CARRIED = 200;
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][\s\S]*?(?:\x07|\x1b\\|$)|[ -/]*[0-~]|$)|\x9b[0-?]*[ -/]*[@-~]/g;
const COLOUR = /^\x1b\[([0-9;:]*)m$/;
// Characters that change the order or hide text are shown by name instead.
const ODD = /[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\u061c]/;

/** The text without escapes and control characters, as it is searched and measured. */
export function plain(line) {
  return clean(line.replace(ESCAPES, ''));
}

function clean(text) {
  return text.replace(/\t/g, '    ').replace(/[\x00-\x1f\x7f-\x9f]/g, '');
}

/** What a terminal would show of a line in which `\r` goes back to its beginning. */
export function lastReturn(line) {
  const end = line.endsWith('\r') ? line.length - 1 : line.length;
  return line.slice(line.lastIndexOf('\r', end - 1) + 1, end);
}

function nearest(r, g, b) {
  const bright = Math.max(r, g, b) > 170 ? 8 : 0;
  const most = Math.max(r, g, b);
  if (most < 60) return 8;
  if (most - Math.min(r, g, b) < 40) return most > 200 ? 15 : 7;
  return bright + (r > most * 0.6 ? 1 : 0) + (g > most * 0.6 ? 2 : 0) + (b > most * 0.6 ? 4 : 0);
}

function indexed(n) {
  if (n < 16) return n;
  if (n >= 232) { const v = (n - 232) * 10 + 8; return nearest(v, v, v); }
  const level = (v) => (v ? v * 40 + 55 : 0);
  const i = n - 16;
  return nearest(level(Math.floor(i / 36)), level(Math.floor(i / 6) % 6), level(i % 6));
}

function apply(style, codes) {
  const list = codes.split(/[;:]/).map((code) => Number(code) || 0);
  for (let i = 0; i < list.length; i += 1) {
    const code = list[i];
    if (code === 0) { style.f = style.b = -1; style.bold = style.dim = style.italic = style.under = false; }
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.under = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 23) style.italic = false;
    else if (code === 24) style.under = false;
    else if (code >= 30 && code <= 37) style.f = code - 30;
    else if (code === 39) style.f = -1;
    else if (code >= 40 && code <= 47) style.b = code - 40;
    else if (code === 49) style.b = -1;
    else if (code >= 90 && code <= 97) style.f = code - 82;
    else if (code >= 100 && code <= 107) style.b = code - 92;
    else if (code === 38 || code === 48) {
      let colour = -1;
      if (list[i + 1] === 5) { colour = indexed(Math.min(255, list[i + 2] ?? 0)); i += 2; }
      else if (list[i + 1] === 2) { colour = nearest(list[i + 2] ?? 0, list[i + 3] ?? 0, list[i + 4] ?? 0); i += 4; }
      if (code === 38) style.f = colour; else style.b = colour;
    }
  }
}

function classes(style) {
  const names = [];
  if (style.f >= 0) names.push(`f${style.f}`);
  if (style.b >= 0) names.push(`b${style.b}`);
  if (style.bold) names.push('a-bold');
  if (style.dim) names.push('a-dim');
  if (style.italic) names.push('a-italic');
  if (style.under) names.push('a-under');
  return names.join(' ');
}

/** The colours that a line leaves switched on for the next one, as the escape sequence that switches them on; `before` is what it began with. */
export function carried(before, line) {
  let codes = before;
  for (const match of line.matchAll(ESCAPES)) {
    const colour = COLOUR.exec(match[0]);
    if (!colour) continue;
    // What follows a reset is all that counts.
    codes = /^0*$/.test(colour[1]) ? '' : (/^0+[;:]/.test(colour[1]) ? '' : codes) + match[0];
  }
  return codes.length > MAX_CARRIED ? '' : codes;
}

/** The pieces of a line: `{text, style}`, where `style` is a list of our own class names. */
export function pieces(line) {
  const style = { f: -1, b: -1, bold: false, dim: false, italic: false, under: false };
  const out = [];
  let at = 0;
  const push = (raw) => { const text = clean(raw); if (text) out.push({ text, style: classes(style) }); };
  for (const match of line.matchAll(ESCAPES)) {
    push(line.slice(at, match.index));
    const colour = COLOUR.exec(match[0]);
    if (colour) apply(style, colour[1]);
    at = match.index + match[0].length;
  }
  push(line.slice(at));
  return out;
}

function appendText(parent, text, style) {
  const target = style ? document.createElement('span') : parent;
  if (style) { target.className = style; parent.append(target); }
  if (!ODD.test(text)) { target.append(text); return; }
  for (const character of text) {
    if (ODD.test(character)) {
      const odd = document.createElement('span');
      odd.className = 'log-odd';
      odd.textContent = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
      target.append(odd);
    } else target.append(character);
  }
}

/** Fills `parent` with the line; `marks` are `[from, to, current]` in the plain text. */
export function render(parent, line, marks) {
  let position = 0;
  for (const piece of pieces(line)) {
    const room = MAX_SHOWN - position;
    if (room <= 0) break;
    const text = piece.text.slice(0, room);
    let at = 0;
    for (const [from, to, current] of marks) {
      const start = Math.max(0, from - position);
      const end = Math.min(text.length, to - position);
      if (start >= end) continue;
      appendText(parent, text.slice(at, start), piece.style);
      appendText(parent, text.slice(start, end), `${piece.style} log-mark${current ? ' log-mark-current' : ''}`.trim());
      at = end;
    }
    appendText(parent, text.slice(at), piece.style);
    position += piece.text.length;
  }
  if (position > MAX_SHOWN) appendText(parent, ' … the rest of this line is in the download', 'a-dim');
}

/** How much of a line is shown, in characters. */
export function shownLength(text) {
  return text.length > MAX_SHOWN ? MAX_SHOWN + 44 : text.length;
}
