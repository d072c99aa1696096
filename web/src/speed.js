// Tokens a second, decoding and prefill, as bars with the ratio to the reference.
import {finite, shortened, significant} from './numbers.js';
import {base, categoryAxis, seriesColour, valueAxis} from './theme.js';

export function speed(chart) {
  const {data, theme, width} = chart, models = data.models.filter(m => finite(m.decode_tok_s));
  if (!models.length) return null;
  const kinds = [['decode_tok_s', 'decode, tok/s'], ['prefill_tok_s', 'prefill, tok/s']].filter(([key]) => models.every(m => finite(m[key])));
  const narrow = width < 600, left = narrow ? 110 : 180, row = 30, part = models.length * row + 56;
  const colour = m => m === data.models[0] ? theme.quiet : seriesColour(theme, data.models.indexOf(m) - 1);
  const points = [], option = {...base(theme, 'Speed of every model.'), grid: [], xAxis: [], yAxis: [], series: []};
  kinds.forEach(([key, name], k) => {
    option.grid.push({left, right: 96, top: k * part + 4, height: models.length * row});
    option.xAxis.push(valueAxis(theme, name, {gridIndex: k, nameGap: 24, min: 0, splitNumber: narrow ? 2 : 5, axisLabel: {color: theme.quiet, fontSize: 12, hideOverlap: true}}));
    option.yAxis.push(categoryAxis(theme, '', models.map(m => shortened(m.name, 60)), {gridIndex: k, inverse: true, axisLabel: {color: theme.ink, fontSize: 12, width: left - 14, overflow: 'truncate', interval: 0}}));
    const reference = data.models[0][key];
    option.series.push({type: 'bar', xAxisIndex: k, yAxisIndex: k, barMaxWidth: 18, data: models.map(m => ({
      value: m[key], itemStyle: {color: colour(m)},
      label: {show: true, position: 'right', color: theme.ink, fontSize: 12, formatter: `${significant(m[key], 4)}  ${significant(m[key] / reference)}x`},
    }))});
    models.forEach((m, index) => points.push({series: k, index, text: `${shortened(m.name, 60)}: ${name} ${significant(m[key], 4)}, ${significant(m[key] / reference)} times the reference`}));
  });
  const fastest = models.reduce((a, b) => b.decode_tok_s > a.decode_tok_s ? b : a);
  return {
    title: `${shortened(fastest.name)} writes fastest: ${significant(fastest.decode_tok_s)} tok/s`,
    about: 'Tokens a second, one text at a time.', height: kinds.length * part + 8, option, points,
  };
}
