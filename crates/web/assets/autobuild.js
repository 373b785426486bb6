// Autobuild settings: rows are added in place, and the preview follows what is typed.

import { announce } from './slipway.js';

const form = document.getElementById('autobuild');
const preview = document.getElementById('preview');

function addRow(kind) {
  const body = document.getElementById(`${kind}s`);
  const rows = body.querySelectorAll(`[data-${kind}]`);
  let added;
  if (kind === 'rule') added = [...document.getElementById('rule-template').content.cloneNode(true).children];
  else {
    const row = rows[rows.length - 1].cloneNode(true);
    for (const field of row.querySelectorAll('input:not([type="hidden"]), textarea')) { field.value = field.type === 'checkbox' ? 'true' : ''; field.checked = false; field.removeAttribute('placeholder'); }
    for (const field of row.querySelectorAll('input[type="hidden"]')) field.remove();
    added = [row];
  }
  // One number after the highest that any row has.
  const numbers = [...body.querySelectorAll('[name]')].map((field) => Number(field.name.split('.')[1]));
  const next = Math.max(-1, ...numbers) + 1;
  for (const element of added.flatMap((row) => [...row.querySelectorAll('[name], [id], [for]')])) {
    if (element.name) element.name = element.name.replace(/^(\w+)\.\d+\./, `$1.${next}.`);
    if (element.id) element.id = element.id.replace(/-\d+-/, `-${next}-`);
    if (element.htmlFor) element.htmlFor = element.htmlFor.replace(/-\d+-/, `-${next}-`);
    element.removeAttribute('aria-describedby');
    if (element.hasAttribute('aria-invalid')) element.setAttribute('aria-invalid', 'false');
  }
  body.append(...added);
  added[0].querySelector('input:not([type="hidden"]), select').focus();
  announce(`${kind === 'rule' ? 'Rule' : 'Variable'} ${body.querySelectorAll(`[data-${kind}]`).length} added`);
}

let timer = 0;
let running = null;
async function showPreview() {
  running?.abort();
  running = new AbortController();
  const body = new URLSearchParams(new FormData(form));
  // Values of variables have no place in a preview.
  for (const name of [...body.keys()]) if (name.startsWith('env.')) body.delete(name);
  try {
    const answer = await fetch(form.dataset.preview, { method: 'POST', body, credentials: 'same-origin', signal: running.signal });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    preview.replaceChildren(...page.body.childNodes);
  } catch { /* the next change tries again */ }
}

if (form) {
  showPreview();
  form.addEventListener('input', (event) => {
    if (!event.target.name?.startsWith('rules.')) return;
    clearTimeout(timer);
    timer = setTimeout(showPreview, 350);
  });
  form.addEventListener('click', (event) => {
    const add = event.target.closest('[data-add]');
    if (add) { event.preventDefault(); addRow(add.dataset.add); }
    if (event.target.closest('[data-preview-button]')) { event.preventDefault(); showPreview(); }
  });
}
