// What all charts of the page share: its data, the state in the URL's fragment, the live line, when to draw.
//
// The fragment is SECTION&key=value&...: a link shows what its sender saw.
export class Page {
  constructor(data) {
    this.data = data;
    this.charts = [];
    this.live = document.getElementById('live');
    this.state = new Map();
    this.section = '';
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
    addEventListener('hashchange', () => { this.read(); this.show(); });
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

  set(key, value) {
    this.state.set(key, value);
    const pairs = [...this.state].map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`);
    history.replaceState(null, '', `#${[this.section, ...pairs].join('&')}`);
  }

  say(text) { this.live.textContent = text; }

  read() {
    for (const part of location.hash.slice(1).split('&')) {
      const equals = part.indexOf('=');
      try {
        if (equals < 0) this.section = decodeURIComponent(part);
        else this.state.set(decodeURIComponent(part.slice(0, equals)), decodeURIComponent(part.slice(equals + 1)));
      } catch { /* a fragment that somebody cut */ }
    }
  }

  // Opens and shows the section of the fragment.
  show() {
    const section = this.section && document.getElementById(this.section);
    if (!section) return;
    const folded = section.matches('details') ? section : section.querySelector(':scope > details');
    if (folded) folded.open = true;
    section.scrollIntoView();
  }

  // On paper everything is open, and light.
  print(on) {
    if (on) {
      this.folded = [...document.querySelectorAll('details:not([open])')];
      for (const details of this.folded) details.open = true;
    }
    for (const chart of this.charts) {
      chart.printing = on;
      chart.draw();
    }
    if (!on) for (const details of this.folded ?? []) details.open = false;
  }
}
