// What every page has: copy buttons, times that move on, `/` for the search, menus that close, parts that renew themselves.
// Nothing here is needed to use a page; without it the same forms and links work.

const announcer = document.getElementById('announcer');

/** Says a change to screen readers. */
export function announce(text) {
  if (announcer && announcer.textContent !== text) announcer.textContent = text;
}

function relative(then, now) {
  // What is still to come stays as the server wrote it: a date.
  if (then - now > 60000) return null;
  const s = Math.max(0, Math.floor((now - then) / 1000));
  if (s < 10) return 'just now';
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  if (s < 172800) return 'yesterday';
  if (s < 604800) return `${Math.floor(s / 86400)} days ago`;
  return null;
}

/** `1m 04s`, as the server writes it. */
export function durationText(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, '0');
  if (s < 10) return `${s}.${Math.floor((ms % 1000) / 100)}s`;
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${two(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86400)}d ${two(Math.floor(s / 3600) % 24)}h`;
}

function moveTimes() {
  const now = Date.now();
  for (const element of document.querySelectorAll('time[datetime]')) {
    const text = relative(Date.parse(element.dateTime), now);
    if (text && element.textContent !== text) element.textContent = text;
  }
  for (const element of document.querySelectorAll('[data-since]')) {
    element.textContent = durationText(now - Date.parse(element.dataset.since)).replace(/^(\d)\.\ds$/, '$1s');
  }
}

function showCopyButtons(root) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll('.copy[hidden]')) button.hidden = false;
}

async function copyText(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.dataset.done = '';
    announce('Copied');
    setTimeout(() => delete button.dataset.done, 1500);
  } catch {
    announce('The browser did not allow copying');
  }
}

/** Fetches this page again and puts the parts with these ids in place of the present ones; true when the server answered with the page. */
export async function renew(ids) {
  const answer = await fetch(location.href, { headers: { accept: 'text/html' }, credentials: 'same-origin', cache: 'no-store' });
  if (!answer.ok || answer.redirected) return false;
  // The parsed page never runs: scripts of a document made by DOMParser are inert, and the policy forbids inline ones.
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  for (const id of ids) {
    const old = document.getElementById(id);
    const fresh = page.getElementById(id);
    if (!old || !fresh) continue;
    // A part in which the person is at work stays as it is until they leave it.
    const busy = old.contains(document.activeElement) && document.activeElement.matches('input, textarea, select');
    if (busy || old.querySelector('details[open]')) continue;
    const states = (root) => [...root.querySelectorAll('.build-row')].map((row) => `${row.querySelector('.build-what a')?.textContent} ${row.querySelector('.state')?.textContent}`);
    const before = new Set(states(old));
    if (old.innerHTML === fresh.innerHTML) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
    old.replaceChildren(...fresh.childNodes);
    for (const name of Object.keys(fresh.dataset)) old.dataset[name] = fresh.dataset[name];
    showCopyButtons(old);
    if (focused) old.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    const changed = states(old).filter((state) => !before.has(state));
    if (changed.length) announce(`Build ${changed[0]}`);
  }
  moveTimes();
  return true;
}

function keepLive() {
  const parts = [...document.querySelectorAll('[data-live]')];
  // A list that was paged or filtered renews too: the address is the same.
  if (!parts.length) return;
  const every = Math.min(...parts.map((part) => Number(part.dataset.liveEvery) || 10)) * 1000;
  let pause = every;
  const tick = async () => {
    if (!document.hidden) {
      try {
        pause = (await renew(parts.map((part) => part.id))) ? every : Math.min(pause * 2, 60000);
      } catch {
        pause = Math.min(pause * 2, 60000);
      }
    }
    setTimeout(tick, pause);
  };
  setTimeout(tick, every);
}

document.addEventListener('click', (event) => {
  const button = event.target.closest?.('.copy');
  if (button) copyText(button);
  for (const menu of document.querySelectorAll('details.menu[open]')) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, textarea, select, [contenteditable]');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.querySelector('[data-focus-key="/"]');
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  }
  if (event.key === 'Escape') {
    const menu = document.querySelector('details.menu[open]');
    if (menu) { menu.open = false; menu.querySelector('summary').focus(); }
  }
});

showCopyButtons(document);
moveTimes();
setInterval(moveTimes, 1000);
keepLive();
document.querySelector('[data-focus]')?.focus();
