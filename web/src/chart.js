// One chart of the page: a canvas that is one tab stop, arrows that move over its points, and a live line that says what the tip says.
import * as echarts from 'echarts/core';
import {BarChart, BoxplotChart, CustomChart, HeatmapChart, LineChart, ScatterChart} from 'echarts/charts';
import {AriaComponent, GridComponent, LegendComponent, TitleComponent, TooltipComponent} from 'echarts/components';
import {LabelLayout} from 'echarts/features';
import {CanvasRenderer} from 'echarts/renderers';
import {kDark, kLight} from './theme.js';

echarts.use([BarChart, BoxplotChart, CustomChart, HeatmapChart, LineChart, ScatterChart, AriaComponent, GridComponent, LegendComponent,
  TitleComponent, TooltipComponent, LabelLayout, CanvasRenderer]);

const kPrintWidth = 680;

const element = (tag, className, parent) => {
  const out = document.createElement(tag);
  if (className) out.className = className;
  parent.append(out);
  return out;
};

export class Chart {
  // `make(chart)` gives {title, about, height, option, points, columns, table}, or nothing where there is nothing to draw: points are what
  // arrows visit, {text, series, index}; columns, how many of them lie beside each other; table, {head, rows} of what is drawn where the page
  // has no table of it. `place` names what is drawn in data-chart and data-*.
  constructor(place, make, page) {
    this.place = place;
    this.make = make;
    this.page = page;
    this.data = page.data;
    this.id = [place.dataset.chart, place.dataset.model, place.dataset.answer].filter(x => x !== undefined).join('.');
    this.selects = new Map();
    this.printing = false;
    place.hidden = false;
    this.title = element('p', 'chart-title', place);
    this.controls = element('div', 'controls', place);
    this.canvas = element('div', 'canvas', place);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'application');
    this.canvas.setAttribute('aria-roledescription', 'chart');
    this.canvas.addEventListener('keydown', event => this.key(event));
    this.canvas.addEventListener('blur', () => this.hideTip());
    this.inner = element('div', '', this.canvas);
    this.fold = element('details', 'data', place);
    this.fold.hidden = true;
    element('summary', '', this.fold).textContent = 'What is drawn, as a table';
    this.box = element('div', 'scroll', this.fold);
    this.box.tabIndex = 0;
    this.box.setAttribute('role', 'group');
    page.observe(this);
  }

  get model() { return Number(this.place.dataset.model); }

  // One of `choices` ([key, name] each) by a menu that is made once; the choice is part of the page's state.
  choose(name, label, choices) {
    if (choices.length < 2) return choices[0][0];
    const key = `${this.id}.${name}`;
    this.asked.add(name);
    let select = this.selects.get(name);
    if (!select) {
      const around = element('label', '', this.controls);
      around.append(`${label} `);
      select = element('select', '', around);
      for (const [value, text] of choices) {
        const option = element('option', '', select);
        option.value = value;
        option.textContent = text;
      }
      const asked = this.page.get(key);
      if (choices.some(([value]) => value === asked)) select.value = asked;
      select.addEventListener('change', () => {
        this.page.set(key, select.selectedIndex === 0 ? undefined : select.value);
        if (this.page.get('at')?.startsWith(`${this.id}@`)) this.page.set('at', undefined);
        this.at = undefined;
        this.draw();
      });
      this.selects.set(name, select);
    }
    return select.value;
  }

  // As the page's state says.
  restore() {
    for (const [name, select] of this.selects) {
      select.value = this.page.get(`${this.id}.${name}`) ?? '';
      if (select.selectedIndex < 0) select.selectedIndex = 0;
    }
    this.fold.open = this.page.get(`${this.id}.table`) === '1';
    this.at = undefined;
    if (this.chart) this.draw();
  }

  turn() { this.page.set(`${this.id}.table`, this.fold.open ? '1' : undefined); }

  draw() {
    this.width = this.printing ? kPrintWidth : this.place.clientWidth;
    if (this.width === 0) return;
    const dark = !this.printing && matchMedia('(prefers-color-scheme: dark)').matches;
    this.theme = {...(dark ? kDark : kLight), motion: !this.printing && !matchMedia('(prefers-reduced-motion: reduce)').matches};
    this.asked = new Set();
    const made = this.make(this);
    if (!made) {
      this.place.hidden = true;
      return;
    }
    this.points = made.points;
    this.columns = made.columns;
    for (const [name, select] of this.selects) select.parentElement.hidden = !this.asked.has(name);
    this.tabulate(made);
    this.title.textContent = made.title;
    this.canvas.setAttribute('aria-label', `${made.title}. ${made.about} Arrow keys move over its ${made.points.length} points.`);
    this.text = new Map(made.points.map(point => [`${point.series}.${point.index}`, point.text]));
    const option = made.option;
    option.tooltip.formatter = p => this.text.get(`${p.seriesIndex}.${p.dataIndex}`) ?? '';
    this.inner.style.width = `${this.width}px`;
    this.inner.style.height = `${made.height}px`;
    if (this.chart) this.chart.resize({width: this.width, height: made.height});
    else this.chart = echarts.init(this.inner, null, {renderer: 'canvas', width: this.width, height: made.height, devicePixelRatio: Math.max(2, devicePixelRatio)});
    this.chart.setOption(option, {notMerge: true});
    this.option = option;
    if (this.at === undefined) {
      const asked = this.page.get('at');
      if (asked?.startsWith(`${this.id}@`)) this.tip(Math.min(Number(asked.slice(this.id.length + 1)) || 0, this.points.length - 1));
    }
  }

  tabulate({title, table}) {
    this.fold.hidden = !table;
    if (!table) return;
    const made = document.createElement('table'), row = (parent, cells, tags) => {
      const line = element('tr', '', parent);
      cells.forEach((cell, i) => {
        const [tag, scope] = tags(i), out = element(tag, '', line);
        if (scope) out.scope = scope;
        out.textContent = cell;
      });
    };
    row(element('thead', '', made), table.head, () => ['th', 'col']);
    const body = element('tbody', '', made);
    for (const cells of table.rows) row(body, cells, i => i === 0 ? ['th', 'row'] : ['td']);
    this.box.setAttribute('aria-label', title);
    this.box.replaceChildren(made);
  }

  tip(at) {
    this.at = at;
    const point = this.points[at];
    if (!point) return;
    this.chart.dispatchAction({type: 'showTip', seriesIndex: point.series, dataIndex: point.index});
    point.visit?.();
    return point;
  }

  go(at) {
    const point = this.tip(Math.min(Math.max(at, 0), this.points.length - 1));
    this.page.say(point.text);
    this.page.set('at', `${this.id}@${this.at}`);
  }

  hideTip() { this.chart?.dispatchAction({type: 'hideTip'}); }

  key(event) {
    if (!this.chart || !this.points.length || event.ctrlKey || event.altKey || event.metaKey) return;
    const down = this.columns ?? 1, at = this.at ?? -1;
    const to = {ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + down, ArrowUp: at - down, Home: 0, End: this.points.length - 1}[event.key];
    if (event.key === 'Escape') this.hideTip();
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 || to >= this.points.length) this.go(this.at ?? 0);
    else this.go(to);
  }
}
