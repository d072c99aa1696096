// The generation study: small multiples, a heat map a model on one scale, and below the difference to the first model.
import {finite, shortened, significant, visible} from './numbers.js';
import {base, categoryAxis, colourAt, inkOn} from './theme.js';

const kPlanes = [
  ['temperature_top_k', 'temperature and top_k', 'temperatures', 'top_ks', 'temperature', 'top_k'],
  ['length_temperature', 'length and temperature', 'lengths', 'temperatures', 'new tokens', 'temperature'],
  ['length_top_k', 'length and top_k', 'lengths', 'top_ks', 'new tokens', 'top_k'],
];

export function sweep(chart) {
  const {theme, width} = chart, study = chart.data.sweep;
  const measure = chart.choose('measure', 'Measure', study.measures);
  const title = study.measures.find(([key]) => key === measure)[1];
  const [plane, , rowKey, columnKey, rowName, columnName] = kPlanes.find(([key]) => key === chart.choose('plane', 'By', kPlanes.map(([key, name]) => [key, name])));
  const rows = study.grid[rowKey], columns = study.grid[columnKey], models = study.models;
  const valuesOf = m => m.summary[plane][measure];
  const maps = models.map(m => ({name: m.name, difference: false, values: valuesOf(m)}));
  const whole = maps.length;
  for (const m of models.slice(1)) maps.push({
    name: `${m.name} - ${models[0].name}`, difference: true,
    values: valuesOf(m).map((line, r) => line.map((v, c) => finite(v) && finite(valuesOf(models[0])[r][c]) ? v - valuesOf(models[0])[r][c] : null)),
  });
  const flat = list => list.flatMap(map => map.values.flat()).filter(finite);
  const all = flat(maps.slice(0, whole)), low = Math.min(...all), high = Math.max(...all), far = Math.max(...flat(maps.slice(whole)).map(Math.abs), 1e-12);
  if (!all.length) return null;
  const across = Math.max(1, Math.min(Math.floor(width / 300), 3)), space = width / across;
  const height = Math.max(rows.length * 26, 90), part = height + 96;
  const option = {...base(theme, `${title} by ${rowName} and ${columnName}.`), title: [], grid: [], xAxis: [], yAxis: [], series: []}, points = [];
  // Differences begin a line of their own.
  const first = Math.ceil(whole / across) * across;
  maps.forEach((map, m) => {
    const place = m < whole ? m : first + m - whole, x = place % across * space, y = Math.floor(place / across) * part;
    option.title.push({text: shortened(map.name, 34), left: x + 8, top: y + 2, textStyle: {fontSize: 13, color: theme.ink, fontWeight: 600}});
    option.grid.push({left: x + 56, width: space - 68, top: y + 28, height});
    option.xAxis.push(categoryAxis(theme, columnName, columns.map(String), {gridIndex: m, nameGap: 24}));
    option.yAxis.push(categoryAxis(theme, rowName, rows.map(String), {gridIndex: m, nameGap: 38, inverse: true}));
    const list = [];
    map.values.forEach((line, r) => line.forEach((v, c) => {
      const fill = !finite(v) ? theme.paper : map.difference ? colourAt(theme.diverging, 0.5 + v / far / 2) : colourAt(theme.sequential, high > low ? (v - low) / (high - low) : 0.5);
      const room = (space - 68) / columns.length > 38;
      list.push({value: [c, r, v ?? 0], itemStyle: {color: fill, borderColor: theme.paper, borderWidth: 1},
        label: {show: room, fontSize: 11, color: finite(v) ? inkOn(fill) : theme.quiet, formatter: finite(v) ? significant(v, 2) : '\u2013'}});
      points.push({series: m, index: list.length - 1, model: m, value: v,
        text: `${shortened(map.name, 60)}, ${rowName} ${rows[r]}, ${columnName} ${columns[c]}: ${map.difference ? 'difference ' : ''}${title} ${significant(v)}`});
    }));
    option.series.push({type: 'heatmap', xAxisIndex: m, yAxisIndex: m, data: list, emphasis: {itemStyle: {borderColor: theme.ink, borderWidth: 2}}});
  });
  const lines = Math.ceil((first + maps.length - whole) / across);
  return {
    title: `${visible(title)}: ${significant(low)} to ${significant(high)} over all models` + (maps.length > whole ? `, differences up to ${significant(far)}` : ''),
    about: `Heat maps of ${whole} models on one scale${maps.length > whole ? ', and their differences to the first' : ''}. top_k 1 is greedy: the same at every temperature.`,
    height: lines * part, points, columns: columns.length, option,
  };
}
