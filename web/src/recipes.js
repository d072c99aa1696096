// Recipes side by side: only the fields in which they differ, until somebody asks for all.
export function recipes(page) {
  const scroll = document.querySelector('#recipes .scroll');
  if (!scroll) return;
  const equal = [...scroll.querySelectorAll('tbody tr')].filter(row => new Set([...row.querySelectorAll('td')].map(cell => cell.textContent)).size === 1);
  if (!equal.length || scroll.querySelectorAll('thead th').length < 3) return;
  const label = document.createElement('label'), box = document.createElement('input');
  box.type = 'checkbox';
  label.append(box, ' Only what differs');
  const controls = document.createElement('div');
  controls.className = 'controls';
  controls.append(label);
  scroll.before(controls);
  const show = () => { for (const row of equal) row.hidden = box.checked; };
  box.addEventListener('change', () => {
    page.set('recipes', box.checked ? undefined : 'all');
    show();
  });
  page.parts.push({restore() {
    box.checked = page.get('recipes') !== 'all';
    show();
  }});
}
