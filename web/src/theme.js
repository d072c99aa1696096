// Colours by ground, and pieces of options that all charts share.
import {significant} from './numbers.js';

// Okabe and Ito's: told apart by any eye, and 3:1 against both grounds; of the fifth and the reference each ground has its own.
const kSeries = ['#0072B2', '#D55E00', '#009E73', '#CC79A7'];
const kSymbols = ['circle', 'rect', 'triangle', 'diamond', 'roundRect'];
const kCividis = ['#00224e', '#123570', '#3b496c', '#575d6d', '#707173', '#8a8678', '#a59c74', '#c3b369', '#e1cc55', '#fee838'];

export const kDashes = ['solid', [8, 3], [2, 3], [8, 3, 2, 3], [1, 1]];

export const kDark = {
  dark: true, ink: '#e8eaed', paper: '#121417', quiet: '#a0a7ae', line: '#333a41', band: 'rgba(160,167,174,0.18)',
  sequential: kCividis, diverging: ['#56B4E9', '#22262a', '#E69F00'], bins: ['#565c63', '#85591a', '#b27c2c', '#ebad5e', '#ffe0b8'], reference: '#d0d4d8', fifth: '#656c73',
};
export const kLight = {
  dark: false, ink: '#1a1c1f', paper: '#ffffff', quiet: '#5b6168', line: '#d8dce0', band: 'rgba(91,97,104,0.14)',
  sequential: [...kCividis].reverse(), diverging: ['#0072B2', '#F2F2F2', '#D55E00'], bins: ['#a0a7ae', '#d09a34', '#b06a12', '#8a3f0a', '#541a00'], reference: '#5b6168', fifth: '#1a1c1f',
};

export const symbolOf = i => kSymbols[(i + kSymbols.length) % kSymbols.length];

// Both of candidate i; the reference is -1.
export const seriesColour = (theme, i) => i < 0 ? theme.reference : kSeries[i] ?? (i === kSeries.length ? theme.fifth : theme.quiet);

// What must stay apart to any eye.
export const palettes = [['light', kLight], ['dark', kDark]].map(([name, theme]) => ({name, series: [-1, 0, 1, 2, 3, 4].map(i => seriesColour(theme, i)), bins: theme.bins}));

// Which of black and white stands out on a colour "#rrggbb" or "rgb(r,g,b)".
export function inkOn(colour) {
  const [r, g, b] = colour.startsWith('#') ? [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16)) : colour.match(/\d+/g).map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? '#000000' : '#ffffff';
}

// The colour at t of 0..1 on a list of colours.
export function colourAt(colours, t) {
  const at = Math.min(Math.max(t, 0), 1) * (colours.length - 1), i = Math.min(Math.floor(at), colours.length - 2), f = at - i;
  const part = (colour, k) => parseInt(colour.slice(1 + 2 * k, 3 + 2 * k), 16);
  return `rgb(${[0, 1, 2].map(k => Math.round(part(colours[i], k) * (1 - f) + part(colours[i + 1], k) * f)).join(',')})`;
}

export function base(theme, about) {
  return {
    animation: theme.motion,
    aria: {enabled: true, label: {description: about}},
    textStyle: {fontFamily: 'system-ui, sans-serif', color: theme.ink, fontSize: 13},
    tooltip: {
      renderMode: 'richText', confine: true, backgroundColor: theme.paper, borderColor: theme.quiet, borderWidth: 1, padding: 8,
      textStyle: {color: theme.ink, fontSize: 13},
    },
  };
}

const axis = theme => ({
  nameTextStyle: {color: theme.quiet, fontSize: 13}, axisLabel: {color: theme.quiet, fontSize: 12}, axisLine: {onZero: false, lineStyle: {color: theme.quiet}},
  splitLine: {lineStyle: {color: theme.line}},
});

// An axis of plain values.
export const valueAxis = (theme, name, more = {}) => ({type: 'value', name, nameLocation: 'middle', ...axis(theme), ...more});
export const categoryAxis = (theme, name, data, more = {}) =>
  ({type: 'category', name, nameLocation: 'middle', data, ...axis(theme), splitLine: {show: false}, axisTick: {show: false}, ...more});

const kFine = [1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9];

// A logarithmic axis over `values`, with ticks at 1, 2, 5 where it is short (the library's has powers of ten only). What is not above 0 lies
// on a floor below the smallest value, labelled 0. `to` gives places on it.
export function logAxis(theme, name, values, more = {}) {
  const above = values.filter(v => v > 0 && Number.isFinite(v)), zero = values.some(v => v === 0);
  const low = above.length ? Math.min(...above) : 1e-6, high = above.length ? Math.max(...above) : 1;
  const floor = zero ? low / 4 : low, span = Math.log10(high / floor);
  const pad = Math.max(0.06 * span, 0.08), min = Math.log10(floor) - (zero ? 0.12 : 1) * pad, max = Math.log10(high) + pad;
  const ticks = zero ? [Math.log10(floor)] : [];
  for (let p = Math.floor(min); p <= max; ++p)
    for (const m of span < 0.3 ? kFine : span < 1.3 ? [1, 1.5, 2, 3, 5, 7] : span < 2.2 ? [1, 2, 5] : [1]) {
      const at = p + Math.log10(m);
      if (at >= min && at <= max && !(zero && at < Math.log10(floor) + 0.15)) ticks.push(at);
    }
  const to = v => v > 0 ? Math.max(Math.log10(v), min) : Math.log10(floor);
  return {
    to, min, max,
    axis: valueAxis(theme, name, {
      min, max, axisTick: {customValues: ticks},
      axisLabel: {color: theme.quiet, fontSize: 12, customValues: ticks, hideOverlap: true,
        formatter: v => zero && v === Math.log10(floor) ? '0' : `${Number(significant(10 ** v, 3))}`},
      ...more,
    }),
  };
}

// Bars of an interval, across or upright: data [at, low, high].
export const whiskers = (theme, upright, data) => ({
  type: 'custom', silent: true, z: 1, data, encode: upright ? {x: 0, y: [1, 2]} : {y: 0, x: [1, 2]},
  renderItem(params, api) {
    const ends = [1, 2].map(k => upright ? api.coord([api.value(0), api.value(k)]) : api.coord([api.value(k), api.value(0)]));
    const style = {stroke: theme.quiet, lineWidth: 2, fill: 'none'};
    const line = (x1, y1, x2, y2) => ({type: 'line', shape: {x1, y1, x2, y2}, style});
    const [[ax, ay], [bx, by]] = ends, c = 4;
    return {type: 'group', children: upright
      ? [line(ax, ay, bx, by), line(ax - c, ay, ax + c, ay), line(bx - c, by, bx + c, by)]
      : [line(ax, ay, bx, by), line(ax, ay - c, ax, ay + c), line(bx, by - c, bx, by + c)]};
  },
});
