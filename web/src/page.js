// What all charts of the page share: its data, the state in the URL's fragment, the live line, when to draw.
//
// The fragment is SECTION&key=value&...: a link shows what its sender saw, and going back shows what was there. Keys are those of charts
// (CHART.control, CHART.table), `at`, the point the tip is on, and `turned`, the folds that are not as the page has them.
export class Page {
  constructor(data) {
    this.data = data;
    this.charts = [];
    this.parts = [];  // what else has a state: restore()
    this.live = document.getElementById('live');
    this.state = new Map();
    this.folds = [...document.querySelectorAll('details')];
    this.unturned = this.folds.map(fold => fold.open);
    this.read();
    this.near = new IntersectionObserver(entries => {
      for (const {target, isIntersecting} of entries) if (isIntersecting) this.chartOf(target).draw();
    }, {rootMargin: '400px'});
    // A chart is as wide as its place, whatever the window.
    this.sizes = new ResizeObserver(entries => {
      for (const {target} of entries) {
        const chart = this.chartOf(target);
        if (chart.chart && !chart.printing && target.clientWidth !== chart.width) chart.draw();
      }
    });
    const redraw = () => this.charts.forEach(chart => chart.chart && chart.draw());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
    matchMedia('(prefers-reduced-motion: reduce)').addEventListener('change', redraw);
    addEventListener('hashchange', () => this.restore());
    document.addEventListener('click', event => this.follow(event));
    document.addEventListener('toggle', event => this.turn(event.target), true);
    addEventListener('beforeprint', () => this.print(true));
    addEventListener('afterprint', () => this.print(false));
  }

  chartOf(place) { return this.charts.find(chart => chart.place === place); }

  observe(chart) {
    this.charts.push(chart);
    this.near.observe(chart.place);
    this.sizes.observe(chart.place);
  }

  get(key) { return this.state.get(key); }

  // No value: what the page shows by itself.
  set(key, value) {
    if (this.state.get(key) === value) return;
    if (value === undefined) this.state.delete(key);
    else this.state.set(key, value);
    history.replaceState(null, '', this.address());
  }

  address() {
    const pairs = [...this.state].map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`);
    return `#${[this.section, ...pairs].join('&')}`;
  }

  say(text) { this.live.textContent = text; }

  read() {
    this.section = '';
    this.state.clear();
    for (const part of location.hash.slice(1).split('&')) {
      const equals = part.indexOf('=');
      try {
        if (equals < 0) this.section = decodeURIComponent(part);
        else this.state.set(decodeURIComponent(part.slice(0, equals)), decodeURIComponent(part.slice(equals + 1)));
      } catch { /* a fragment that somebody cut */ }
    }
  }

  // As the fragment says, whatever was chosen before.
  restore() {
    this.read();
    const turned = new Set((this.get('turned') ?? '').split('.').filter(Boolean).map(Number));
    this.folds.forEach((fold, i) => { fold.open = this.unturned[i] !== turned.has(i); });
    for (const part of [...this.charts, ...this.parts]) part.restore();
    this.show();
  }

  // A link to a section keeps what is chosen.
  follow(event) {
    const link = event.target.closest('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.section = link.hash.slice(1);
    history.pushState(null, '', this.address());
    this.show();
  }

  // Opens and shows the section of the fragment; the next tab goes on there.
  show() {
    const section = this.section && document.getElementById(this.section);
    if (!section) return;
    const folded = section.matches('details') ? section : section.querySelector(':scope > details');
    if (folded) folded.open = true;
    section.tabIndex = -1;
    section.focus({preventScroll: true});
    section.scrollIntoView();
  }

  turn(fold) {
    if (this.printing) return;
    if (!this.folds.includes(fold)) return this.chartOf(fold.closest('.chart'))?.turn();
    const turned = this.folds.flatMap((f, i) => f.open === this.unturned[i] ? [] : [i]);
    this.set('turned', turned.length ? turned.join('.') : undefined);
  }

  // On paper everything is open, and light.
  print(on) {
    this.printing = on;
    if (on) {
      this.folded = this.folds.filter(fold => !fold.open);
      for (const details of this.folded) details.open = true;
    }
    for (const chart of this.charts) {
      chart.printing = on;
      chart.draw();
    }
    if (!on) for (const details of this.folded ?? []) details.open = false;
  }
}
