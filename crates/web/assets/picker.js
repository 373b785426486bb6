// The source picker: searches while a name is typed, and looks again while the copy is still being read.

import { announce } from './slipway.js';

const form = document.getElementById('source-search');
const parts = ['sources', 'source-namespaces'];
const PAUSE = 200;
const READING = 2000;

let timer = 0;
// After "Refresh" the copy is read in the background: the age is looked at for a while.
let looks = new URLSearchParams(location.search).get('done') === 'refreshing' ? 10 : 0;
let running = null;

function address() {
  const fields = new URLSearchParams(new FormData(form));
  if (!fields.get('q')) fields.delete('q');
  return `${location.pathname}?${fields}`;
}

/** Fetches an address of this page and puts its list in place of the present one. */
async function show(to, said) {
  running?.abort();
  running = new AbortController();
  const list = document.getElementById('sources');
  list.setAttribute('aria-busy', 'true');
  try {
    const answer = await fetch(to, { headers: { accept: 'text/html' }, credentials: 'same-origin', cache: 'no-store', signal: running.signal });
    if (answer.ok && !answer.redirected) {
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      // The focus stays on the same link or button when its part is replaced.
      const at = document.activeElement;
      const href = at?.getAttribute('href');
      const focused = at?.matches('#sources button') ? '#sources button' : href ? `.picker a[href="${CSS.escape(href)}"]` : null;
      for (const id of parts) {
        const fresh = page.getElementById(id);
        if (fresh) document.getElementById(id)?.replaceWith(fresh);
      }
      if (focused && document.activeElement === document.body) document.querySelector(focused)?.focus();
      history.replaceState(null, '', to);
      if (said) announce(document.getElementById('sources')?.dataset.said ?? '');
    }
  } catch (error) {
    // A newer search took over; anything else is tried again with the next letter.
    if (error.name === 'AbortError') return;
  }
  document.getElementById('sources')?.removeAttribute('aria-busy');
  lookAgain();
}

function lookAgain() {
  clearTimeout(timer);
  const reading = document.getElementById('sources')?.hasAttribute('data-reading');
  if (reading || looks-- > 0) timer = setTimeout(() => show(location.href), READING);
}

if (form) {
  form.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => show(address(), true), PAUSE);
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    clearTimeout(timer);
    show(address(), true);
  });
  lookAgain();
}
