// The largest weight of every input channel, as boxes by block: the reference and a candidate side by side.
import {finite, shortened, significant, visible} from './numbers.js';
import {base, categoryAxis, logAxis} from './theme.js';

const kBox = ['p1', 'q1', 'median', 'q3', 'p99'];

export function ranges(chart) {
  const {data, theme, width} = chart, all = data.models.filter(m => m.channel_ranges?.length);
  if (!all.length) return null;
  const roles = [...new Set(all.flatMap(m => m.channel_ranges.map(r => r.role)))];
  const role = chart.choose('role', 'Linear', roles.map(r => [r, visible(r)]));
  const others = all.filter(m => m !== data.models[0]);
  const chosen = others.length ? Number(chart.choose('model', 'Model', others.map((m, i) => [String(i), shortened(m.name, 40)]))) : 0;
  const sides = [...new Set([all[0], others[chosen] ?? all[0]])];
  const rows = sides.map(m => m.channel_ranges.filter(r => r.role === role && kBox.every(k => finite(r[k]))));
  const blocks = [...new Set(rows.flat().map(r => r.block))].sort((a, b) => a - b);
  if (!blocks.length) return null;
  const narrow = width < 600;
  const y = logAxis(theme, '|weight|, largest of a channel (log)', rows.flat().flatMap(r => [...kBox.map(k => r[k]), ...r.worst.map(w => w[1])]), narrow ? {position: 'top', nameGap: 26} : {nameGap: 52});
  const x = categoryAxis(theme, 'block', blocks.map(String), narrow ? {inverse: true, nameGap: 30} : {nameGap: 28});
  const nameOf = m => shortened(m.name, 40);
  const colours = ['#0072B2', '#D55E00'], series = [], points = [];
  rows.forEach((list, s) => {
    const byBlock = new Map(list.map(r => [r.block, r]));
    series.push({
      type: 'boxplot', name: nameOf(sides[s]), boxWidth: [3, 14],
      data: blocks.map(b => byBlock.has(b) ? kBox.map(k => y.to(byBlock.get(b)[k])) : Array(5).fill('-')),
      itemStyle: {color: s === 0 ? theme.paper : `${colours[s]}55`, borderColor: colours[s], borderWidth: 1.5},
    });
    blocks.forEach((b, index) => byBlock.has(b) && points.push({series: s, index, block: b, role, model: data.models.indexOf(sides[s]), order: index * rows.length + s,
      text: `block ${b}, ${nameOf(sides[s])}: median ${significant(byBlock.get(b).median)}, quartiles ${significant(byBlock.get(b).q1)} and ${significant(byBlock.get(b).q3)}, ` +
        `largest ${byBlock.get(b).worst.slice(0, 3).map(w => `channel ${w[0]} ${significant(w[1])}`).join(', ')}`}));
  });
  rows.forEach((list, s) => series.push({
    type: 'scatter', symbolSize: 5, silent: true, itemStyle: {color: colours[s], opacity: 0.8}, symbol: s === 0 ? 'circle' : 'rect',
    symbolOffset: sides.length < 2 ? 0 : narrow ? [0, (s - 0.5) * 13] : [(s - 0.5) * (width - 90) / blocks.length / 2, 0],
    data: list.flatMap(r => r.worst.map(w => narrow ? [y.to(w[1]), blocks.indexOf(r.block)] : [blocks.indexOf(r.block), y.to(w[1])])),
  }));
  points.sort((a, b) => a.order - b.order);
  const widest = rows[0].reduce((a, b) => (b.worst[0]?.[1] / b.median || 0) > (a.worst[0]?.[1] / a.median || 0) ? b : a, rows[0][0] ?? rows[1][0]);
  return {
    title: `${visible(role)}: widest in block ${widest.block}, its largest channel ${significant(widest.worst[0]?.[1] / widest.median)} times the median`,
    about: `Box plots of ${blocks.length} blocks: box, quartiles; whiskers, 1st and 99th percentile; points, the largest channels.`,
    height: narrow ? blocks.length * 26 + 100 : 360, points,
    table: {
      head: ['block', 'model', '1 %', '25 %', 'median', '75 %', '99 %', 'largest (channel)'],
      rows: blocks.flatMap(b => rows.flatMap((list, s) => list.filter(r => r.block === b).map(r =>
        [String(b), nameOf(sides[s]), ...kBox.map(k => significant(r[k])), r.worst.map(w => `${significant(w[1])} (${w[0]})`).join(', ')]))),
    },
    option: {
      ...base(theme, `Largest weight of every input channel of ${visible(role)}, by block.`),
      legend: {bottom: 0, textStyle: {color: theme.ink}, selectedMode: false, data: sides.map(nameOf), type: 'plain', width: '90%'},
      grid: {left: narrow ? 52 : 72, right: 16, top: narrow ? 48 : 16, bottom: narrow ? 40 : 76},
      xAxis: narrow ? y.axis : x, yAxis: narrow ? x : y.axis, series,
    },
  };
}
