// The generation study: small multiples, a heat map a model on one scale, and below the difference to the first model; duplicates over
// length; speed against memory.
import {behind, finite, sentence, shortened, significant, visible} from './numbers.js';
import {base, categoryAxis, colourAt, inkOn, kDashes, logAxis, seriesColour, symbolOf, valueAxis} from './theme.js';

const kPlanes = [
  ['temperature_top_k', 'temperature and top_k', 'temperatures', 'top_ks', 'temperature', 'top_k'],
  ['length_temperature', 'length and temperature', 'lengths', 'temperatures', 'new tokens', 'temperature'],
  ['length_top_k', 'length and top_k', 'lengths', 'top_ks', 'new tokens', 'top_k'],
];

// The values of a model, as the controls say: [rows][columns]. Of one length where the study has that cube.
function chosen(chart, study) {
  const measure = chart.choose('measure', 'Measure', study.measures);
  const plane = kPlanes.find(([key]) => key === chart.choose('plane', 'By', kPlanes.map(([key, name]) => [key, name])));
  const cube = m => m.summary.by_length_temperature_top_k?.[measure];
  const length = plane[0] === 'temperature_top_k' && study.grid.lengths.length > 1 && study.models.every(cube)
    ? chart.choose('length', 'New tokens', [['all', 'all lengths'], ...study.grid.lengths.map((l, i) => [String(i), String(l)])]) : 'all';
  return {measure, plane, length, valuesOf: m => length === 'all' ? m.summary[plane[0]][measure] : cube(m)[Number(length)]};
}

export function sweep(chart) {
  const {theme, width} = chart, study = chart.data.sweep, {measure, plane, length, valuesOf} = chosen(chart, study);
  const title = study.measures.find(([key]) => key === measure)[1], [, , rowKey, columnKey, rowName, columnName] = plane;
  const rows = study.grid[rowKey], columns = study.grid[columnKey], models = study.models;
  const maps = models.map(m => ({name: m.name, difference: false, values: valuesOf(m)}));
  const whole = maps.length;
  for (const m of models.slice(1)) maps.push({
    name: `${m.name} - ${models[0].name}`, difference: true,
    values: valuesOf(m).map((line, r) => line.map((v, c) => finite(v) && finite(valuesOf(models[0])[r][c]) ? v - valuesOf(models[0])[r][c] : null)),
  });
  const flat = list => list.flatMap(map => map.values.flat()).filter(finite);
  const all = flat(maps.slice(0, whole)), low = Math.min(...all), high = Math.max(...all), far = Math.max(...flat(maps.slice(whole)).map(Math.abs), 1e-12);
  if (!all.length) return null;
  // As many beside each other as fit, in lines that are alike.
  const fit = Math.max(1, Math.min(Math.floor(width / 240), 4)), across = Math.ceil(whole / Math.ceil(whole / fit)), space = width / across;
  const wide = (space - 50) / columns.length;  // a cell
  const height = Math.max(rows.length * 26, 90), part = height + 96;
  const option = {...base(theme, `${title} by ${rowName} and ${columnName}.`), title: [], grid: [], xAxis: [], yAxis: [], series: []}, points = [];
  // Differences begin a line of their own.
  const first = Math.ceil(whole / across) * across;
  maps.forEach((map, m) => {
    const place = m < whole ? m : first + m - whole, x = place % across * space, y = Math.floor(place / across) * part;
    const digits = behind(map.difference ? far : high);
    option.title.push({text: shortened(map.name, 2 * Math.floor(space / 16)), left: x + 8, top: y + 2, textStyle: {fontSize: 13, color: theme.ink, fontWeight: 600}});
    option.grid.push({left: x + 46, width: space - 50, top: y + 28, height});
    option.xAxis.push(categoryAxis(theme, columnName, columns.map(String), {gridIndex: m, nameGap: 24, axisLabel: {color: theme.quiet, fontSize: 12, interval: wide > 26 ? 0 : 'auto'}}));
    option.yAxis.push(categoryAxis(theme, rowName, rows.map(String), {gridIndex: m, nameGap: 30, inverse: true}));
    const list = [];
    map.values.forEach((line, r) => line.forEach((v, c) => {
      const fill = !finite(v) ? theme.paper : map.difference ? colourAt(theme.diverging, 0.5 + v / far / 2) : colourAt(theme.sequential, high > low ? (v - low) / (high - low) : 0.5);
      list.push({value: [c, r, v ?? 0], itemStyle: {color: fill, borderColor: theme.paper, borderWidth: 1},
        label: {show: wide > 6 * (digits + 3), fontSize: map.difference ? 10 : 11, color: finite(v) ? inkOn(fill) : theme.quiet, formatter: finite(v) ? v.toFixed(digits).replace(/^-(?=0\.?0*$)/, '') : '\u2013'}});
      points.push({series: m, index: list.length - 1, model: m, row: r, column: c, value: v,
        text: `${shortened(map.name, 60)}, ${rowName} ${rows[r]}, ${columnName} ${columns[c]}: ${map.difference ? 'difference ' : ''}${title} ${significant(v)}`});
    }));
    option.series.push({type: 'heatmap', xAxisIndex: m, yAxisIndex: m, data: list, emphasis: {itemStyle: {borderColor: theme.ink, borderWidth: 2}}});
  });
  const lines = Math.ceil((first + maps.length - whole) / across);
  return {
    title: `${sentence(visible(title))}${length === 'all' ? '' : `, ${study.grid.lengths[Number(length)]} new tokens`}: ${significant(low)} to ${significant(high)} over all models` +
      (maps.length > whole ? `, differences up to ${significant(far)}` : ''),
    about: `Heat maps of ${whole} models on one scale${maps.length > whole ? ', and their differences to the first' : ''}. top_k 1 is greedy: the same at every temperature.`,
    height: lines * part, points, columns: columns.length, option,
    table: {head: ['model', rowName, ...columns.map(c => `${columnName} ${c}`)],
      rows: maps.flatMap(map => map.values.map((line, r) => [visible(map.name), String(rows[r]), ...line.map(v => significant(v))]))},
  };
}

// A measure over length, a line a model.
export function lengths(chart) {
  const {theme, width} = chart, study = chart.data.sweep, at = study.grid.lengths.map(String);
  if (at.length < 2) return null;
  const measure = chart.choose('measure', 'Measure', study.measures), title = study.measures.find(([key]) => key === measure)[1];
  const lines = study.models.map(m => m.summary.by_length[measure]), points = [];
  if (!lines.flat().some(finite)) return null;
  lines.forEach((line, m) => line.forEach((v, index) => finite(v) && points.push({series: m, index, model: m, value: v,
    text: `${shortened(study.models[m].name, 60)}, ${at[index]} new tokens: ${title} ${significant(v)}`})));
  const ends = lines[0].filter(finite), change = ends[ends.length - 1] - ends[0];
  return {
    title: `${sentence(visible(title))} of ${shortened(study.models[0].name)}: ${change > 0 ? 'up' : 'down'} from ${significant(ends[0])} to ${significant(ends[ends.length - 1])} with length`,
    about: `A line for each of ${lines.length} models over ${at.length} lengths.`, height: 300, points, columns: at.length,
    table: {head: ['model', ...at], rows: lines.map((line, m) => [visible(study.models[m].name), ...line.map(v => significant(v))])},
    option: {
      ...base(theme, `${title} over length.`),
      legend: {bottom: 0, textStyle: {color: theme.ink}, selectedMode: false, type: 'plain', width: '90%', formatter: name => shortened(name, width < 600 ? 24 : 40)},
      grid: {left: 64, right: 16, top: 14, bottom: 48 + 26 * Math.ceil(lines.length / (width < 600 ? 2 : 4))},
      xAxis: categoryAxis(theme, 'new tokens, at most', at, {nameGap: 26, boundaryGap: false}),
      yAxis: valueAxis(theme, shortened(title, width < 600 ? 22 : 34), {scale: true, nameGap: 46}),
      series: lines.map((line, m) => ({type: 'line', name: visible(study.models[m].name), symbol: symbolOf(m - 1), symbolSize: 8, data: line.map(v => v ?? '-'),
        itemStyle: {color: seriesColour(theme, m - 1)}, lineStyle: {width: 2, type: kDashes[m % kDashes.length]}})),
    },
  };
}

// One text at a time where that was measured, else the whole study.
const speedOf = m => m.one_at_a_time?.mean_tok_s ?? m.batched?.tok_s;

export function cost(chart) {
  const {theme, width} = chart, models = chart.data.sweep.models.map((m, i) => ({m, i})).filter(({m}) => finite(m.peak_rss_bytes) && finite(speedOf(m)));
  if (!models.length) return null;
  const x = logAxis(theme, 'peak memory, MB (log)', models.map(({m}) => m.peak_rss_bytes / 1e6), {nameGap: 30});
  const y = logAxis(theme, 'tokens a second (log)', models.map(({m}) => speedOf(m)), {nameGap: 52});
  const fastest = models.reduce((a, b) => speedOf(b.m) > speedOf(a.m) ? b : a);
  const points = models.map(({m, i}, index) => ({series: 0, index, model: i,
    text: `${shortened(m.name, 60)}: ${significant(speedOf(m), 4)} tok/s in ${significant(m.peak_rss_bytes / 1e6, 4)} MB`}));
  return {
    title: `${shortened(fastest.m.name)} writes fastest: ${significant(speedOf(fastest.m))} tok/s in ${significant(fastest.m.peak_rss_bytes / 1e6)} MB`,
    about: 'Speed against peak memory of each model; upper left is better.', height: 300, points,
    option: {
      ...base(theme, 'Speed of each model against its peak memory.'),
      grid: {left: 76, right: 24, top: 24, bottom: 52}, xAxis: x.axis, yAxis: y.axis,
      series: [{type: 'scatter', symbolSize: 14, data: models.map(({m, i}) => {
        const at = [x.to(m.peak_rss_bytes / 1e6), y.to(speedOf(m))];
        return {value: at, symbol: symbolOf(i - 1), itemStyle: {color: seriesColour(theme, i - 1), opacity: 1},
          label: {show: true, formatter: shortened(m.name, width < 600 ? 18 : 28), color: theme.ink, fontSize: 12, textBorderColor: theme.paper, textBorderWidth: 3,
            position: at[0] < x.min + (x.max - x.min) * 0.6 ? 'right' : 'left'}};
      }), labelLayout: {hideOverlap: true, moveOverlap: 'shiftY'}}],
    },
  };
}
