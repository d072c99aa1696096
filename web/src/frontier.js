// Quality against cost: a point a candidate, the step line of those that nothing smaller beats, both axes to choose.
import {finite, shortened, significant, visible} from './numbers.js';
import {base, logAxis, seriesColour, symbolOf, valueAxis, whiskers} from './theme.js';

export function frontier(chart) {
  const {data, theme, width} = chart, [reference, ...models] = data.models;
  const some = get => models.some(m => finite(get(m))), source = visible(reference.energy?.source ?? '').split(/[ ,]/)[0];
  const xs = [
    ['size', 'size', 'MB', m => m.bytes / 1e6],
    ['memory', 'peak memory', 'MB', m => finite(m.peak_rss_bytes) ? m.peak_rss_bytes / 1e6 : null],
    ['time', 'decoding', 'ms per token', m => m.decode_tok_s > 0 ? 1e3 / m.decode_tok_s : null],
    ['energy', `energy of decoding (${source})`, 'mJ per token', m => finite(m.energy?.decode_j_per_token) ? m.energy.decode_j_per_token * 1e3 : null],
  ].filter(([, , , get]) => some(get));
  const change = m => m.tasks?.length ? m.tasks.reduce((sum, t) => sum + t.change, 0) / m.tasks.length * 100 : null;
  const ys = [
    ['kl', 'KL', 'nats per token', m => m.kl_mean, m => m.kl_ci95, true],
    ['ratio', 'perplexity ratio', '', m => m.perplexity / reference.perplexity, m => m.perplexity_ratio_ci95, false],
    ['tasks', 'mean change of tasks', 'points', change, () => null, false],
  ].filter(([, , , get]) => some(get));
  if (!xs.length || !ys.length) return null;
  const titled = (name, unit) => unit ? `${name}, ${unit}` : name;
  const pick = (list, control, label) => {
    const key = chart.choose(control, label, list.map(([k, name, unit]) => [k, titled(name, unit)]));
    return list.find(([k]) => k === key);
  };
  const [, xWord, xUnit, xOf] = pick(xs, 'x', 'Across'), xName = titled(xWord, xUnit);
  const [yKey, yWord, yUnit, yOf, intervalOf, log] = pick(ys, 'y', 'Up'), yName = titled(yWord, yUnit);
  const points = models.map((m, i) => ({m, i, x: xOf(m), y: yOf(m), interval: intervalOf(m)})).filter(p => finite(p.x) && finite(p.y));
  if (!points.length) return null;
  const whole = xOf(reference);
  const ends = points.flatMap(p => [p.y, ...(p.interval ?? [])]).filter(finite);
  // A floor far below every candidate would press them together; the method names it.
  const noise = yKey === 'kl' ? data.noise_floor?.kl_mean : undefined, floor = noise * 30 > Math.min(...ends.filter(v => v > 0)) ? noise : undefined;
  const x = logAxis(theme, `${xName} (log)`, [...points.map(p => p.x), ...(finite(whole) ? [whole] : [])], {nameGap: 30});
  const y = log ? logAxis(theme, `${yName} (log)`, [...ends, ...(floor > 0 ? [floor] : [])], {nameGap: 56})
    : {to: v => v, axis: valueAxis(theme, yName, {scale: true, nameGap: 48})};
  const better = (a, b) => yKey === 'tasks' ? a.y > b.y : a.y < b.y;
  const steps = [];
  for (const p of [...points].sort((a, b) => a.x - b.x)) if (!steps.length || better(p, steps[steps.length - 1])) steps.push(p);
  const best = new Set(steps), narrow = width < 600;
  const option = {
    ...base(theme, `${yName} of every candidate against its ${xName}.`),
    grid: {left: narrow ? 74 : 80, right: 24, top: 28, bottom: 52},
    xAxis: x.axis, yAxis: y.axis,
    series: [
      {type: 'scatter', z: 4, symbolSize: 14, data: points.map(p => ({
        value: [x.to(p.x), y.to(p.y)], symbol: symbolOf(p.i),
        itemStyle: {opacity: 1, ...(best.has(p) ? {color: seriesColour(theme, p.i)} : {color: theme.paper, borderColor: seriesColour(theme, p.i), borderWidth: 2})},
        label: {show: true, formatter: shortened(p.m.name, narrow ? 18 : 28), color: theme.ink, fontSize: 12, offset: [0, -9], textBorderColor: theme.paper, textBorderWidth: 3,
          position: x.to(p.x) < x.min + (x.max - x.min) * 0.6 ? 'right' : 'left'},
      })), labelLayout: {hideOverlap: true, moveOverlap: 'shiftY'}},
      whiskers(theme, true, points.filter(p => p.interval?.every(finite)).map(p => [x.to(p.x), ...p.interval.map(y.to)])),
      {type: 'line', step: 'end', silent: true, symbol: 'none', z: 1, lineStyle: {color: theme.quiet, width: 1.5}, data: steps.map(p => [x.to(p.x), y.to(p.y)])},
    ],
  };
  const line = (values, more) => ({type: 'line', silent: true, symbol: 'none', z: 0, data: values, ...more});
  const low = log ? y.min : Math.min(...ends), high = log ? y.max : Math.max(...ends);
  if (finite(whole)) option.series.push(line([[x.to(whole), low], [x.to(whole), high]], {
    lineStyle: {color: theme.ink, type: 'dashed', width: 1},
    endLabel: {show: true, formatter: 'reference', color: theme.quiet, fontSize: 12, align: 'right', offset: [-8, 10]},
  }));
  if (floor > 0) option.series.push(line([[x.min, y.to(floor)], [x.max, y.to(floor)]], {
    lineStyle: {color: theme.quiet, type: 'dotted', width: 1}, areaStyle: {color: theme.band, origin: 'start'},
    endLabel: {show: true, formatter: 'noise floor', color: theme.quiet, fontSize: 12, align: 'right', offset: [-8, 8]},
  }));
  const closest = points.reduce((a, b) => better(b, a) ? b : a);
  return {
    title: `${shortened(closest.m.name)} is the closest: ${yWord} ${significant(closest.y)}${yUnit && ` ${yUnit}`} at ${significant(closest.x)} ${xUnit}`,
    about: `${yName} against ${xName}; lower left is better, hollow marks are beaten by a smaller candidate.`,
    height: narrow ? 320 : 400, option,
    table: {head: ['model', xName, yName, ...(points.some(p => p.interval) ? ['95 %'] : [])], rows: points.map(p => [visible(p.m.name), significant(p.x, 4), significant(p.y),
      ...(points.some(q => q.interval) ? [p.interval?.every(finite) ? p.interval.map(v => significant(v)).join(' to ') : '\u2013'] : [])])},
    points: points.map((p, index) => ({
      series: 0, index, model: p.i + 1,
      text: `${shortened(p.m.name, 60)}: ${xName} ${significant(p.x, 4)}, ${yName} ${significant(p.y)}` +
        (p.interval?.every(finite) ? ` [${p.interval.map(v => significant(v)).join(', ')}]` : ''),
    })),
  };
}
