// Change of every task with its paired interval, on one line of zero.
import {finite, shortened, significant, visible} from './numbers.js';
import {base, categoryAxis, valueAxis, whiskers} from './theme.js';

export function tasks(chart) {
  const {data, theme, width} = chart;
  const list = (data.models[chart.model].tasks ?? []).map((t, at) => ({...t, at})).filter(t => finite(t.change) && !/perplexity|bits_per/.test(t.metric ?? ''));
  if (!list.length) return null;
  const shown = t => finite(t.p_holm) && t.p_holm < 0.05;
  const colour = t => !shown(t) ? theme.quiet : t.change < 0 ? '#D55E00' : '#0072B2';
  const sorted = [...list].sort((a, b) => shown(b) - shown(a) || a.change - b.change);
  const worse = list.filter(t => shown(t) && t.change < 0).length, better = list.filter(t => shown(t) && t.change > 0).length;
  const narrow = width < 600;
  return {
    title: `${worse} of ${list.length} tasks ${worse === 1 ? 'is' : 'are'} worse, ${better} better; for the others no difference is shown`,
    about: 'Change against the reference in points, with the paired 95 % interval. Filled: significant after Holm; hollow: not shown.',
    height: sorted.length * 26 + 60,
    points: sorted.map((t, index) => ({series: 0, index, task: t.at,
      text: `${shortened(t.task, 60)}: ${significant(t.change * 100)} points` +
        (t.change_ci95?.every(finite) ? ` [${t.change_ci95.map(v => significant(v * 100)).join(', ')}]` : '') +
        (finite(t.lost) ? `, lost ${t.lost}, won ${t.won}` : '') + (finite(t.n) ? ` of ${t.n}` : '') + `: ${visible(t.verdict ?? '')}`})),
    option: {
      ...base(theme, 'Change of every task.'),
      grid: {left: narrow ? 118 : 190, right: 24, top: 8, bottom: 48},
      xAxis: valueAxis(theme, 'change, points', {nameGap: 28}),
      yAxis: categoryAxis(theme, '', sorted.map(t => shortened(t.task, 60)), {inverse: true, axisLabel: {color: theme.ink, fontSize: 12, width: narrow ? 104 : 176, overflow: 'truncate', interval: 0}}),
      series: [
        {type: 'scatter', z: 4, symbolSize: 11, data: sorted.map((t, i) => ({
          value: [t.change * 100, i], itemStyle: {color: shown(t) ? colour(t) : theme.paper, borderColor: colour(t), borderWidth: 2},
        }))},
        whiskers(theme, false, sorted.map((t, i) => [i, ...(t.change_ci95 ?? []).map(v => v * 100)]).filter(v => v.length === 3 && v.every(finite))),
        {type: 'line', silent: true, symbol: 'none', lineStyle: {color: theme.ink, width: 1}, data: [[0, 0], [0, sorted.length - 1]]},
      ],
    },
  };
}
