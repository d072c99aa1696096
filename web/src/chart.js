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
  // `make(chart)` gives {title, about, height, option, points, columns}, or nothing where there is nothing to draw: points are what arrows
  // visit, {text, series, index}; columns, how many of them lie beside each other. `place` names what is drawn in data-chart and data-*.
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
    page.observe(this);
  }

  get model() { return Number(this.place.dataset.model); }

  // One of `choices` ([key, name] each) by a menu that is made once; the choice is part of the page's state.
  choose(name, label, choices) {
    if (choices.length < 2) return choices[0][0];
    const key = `${this.id}.${name}`;
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
        this.page.set(key, select.value);
        this.at = undefined;
        this.draw();
      });
      this.selects.set(name, select);
    }
    return select.value;
  }

  draw() {
    this.width = this.printing ? kPrintWidth : this.place.clientWidth;
    if (this.width === 0) return;
    const dark = !this.printing && matchMedia('(prefers-color-scheme: dark)').matches;
    this.theme = {...(dark ? kDark : kLight), motion: !this.printing && !matchMedia('(prefers-reduced-motion: reduce)').matches};
    const made = this.make(this);
    if (!made) {
      this.place.hidden = true;
      return;
    }
    this.points = made.points;
    this.columns = made.columns;
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
      if (asked?.startsWith(`${this.id}@`)) this.at = Math.min(Number(asked.slice(this.id.length + 1)) || 0, this.points.length - 1);
    }
  }

  go(at) {
    this.at = Math.min(Math.max(at, 0), this.points.length - 1);
    const point = this.points[this.at];
    this.chart.dispatchAction({type: 'showTip', seriesIndex: point.series, dataIndex: point.index});
    this.page.say(point.text);
    this.page.set('at', `${this.id}@${this.at}`);
    point.visit?.();
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
