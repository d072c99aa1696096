// What each linear lost, as a heat map of blocks and roles; and shares of the KL, where they were measured.
import {finite, sentence, significant, visible} from './numbers.js';
import {base, categoryAxis, colourAt, inkOn, valueAxis} from './theme.js';

const kShows = [
  ['relative_error', 'error of the weights, %', u => u.relative_error * 100],
  ['bits', 'bits of a weight', u => u.bits],
  ['bytes', 'size, kB', u => u.bytes / 1e3],
];
const kHow = [['saved', 'all but it'], ['kl_only', 'it alone']];
const kEvery = 'all blocks', kWhole = 'whole block';  // where units lie that are more than a linear

// A unit's share of the KL in percent: what leaving it whole takes off, or what it makes alone.
function share(chart, model) {
  const how = chart.choose('how', 'Quantized', kHow), whole = model.units_measured.kl_mean;
  return how === 'saved' ? ['share of the KL, %', u => u.saved * 100, v => `leaving it whole takes ${v} % off the KL`]
    : ['share of the KL by it alone, %', u => (whole > 0 ? 100 / whole : 0) * u.kl_only, v => `quantizing it alone makes ${v} % of the KL`];
}

const placeOf = u => u.role === kWhole ? `block ${u.block}` : u.block === kEvery ? `${visible(u.role)} of all blocks` : `block ${u.block}, ${visible(u.role)}`;

export function damage(chart) {
  const {data, theme, width} = chart, model = data.models[chart.model];
  const measured = (model.units ?? []).flatMap((u, at) => u.kind === 'table' ? [] : [{...u, at, block: u.block ?? kEvery, role: u.role ?? kWhole}]);
  const linears = model.weights.filter(u => finite(u.block) && u.role);
  const shows = [...kShows.filter(([k]) => linears.some(u => finite(u[k]))), ...(measured.length ? [['share', 'share of the KL, %']] : [])];
  if (!linears.length || !shows.length) return null;
  const key = chart.choose('show', 'Show', shows.map(([k, n]) => [k, n])), ofKl = key === 'share';
  const [name, of] = ofKl ? share(chart, model) : shows.find(([k]) => k === key).slice(1), units = ofKl ? measured : linears;
  const blocks = [...new Set(units.map(u => u.block))].sort((a, b) => (finite(a) ? a : Infinity) - (finite(b) ? b : Infinity)), roles = [...new Set(units.map(u => u.role))];
  const turned = width < 600, cells = new Map(units.map(u => [`${u.block} ${u.role}`, u]));
  // Errors differ by powers of ten; shares of one whole do not, and may be below 0.
  const scale = ofKl ? v => v : Math.log, values = units.map(of).filter(v => v > 0), low = ofKl ? 0 : scale(Math.min(...values)), high = scale(Math.max(...values));
  const colour = v => !(v > 0) ? theme.paper : colourAt(theme.sequential, high > low ? (scale(v) - low) / (high - low) : 0.5);
  const rows = turned ? blocks : roles, columns = turned ? roles : blocks;
  const list = [], points = [];
  rows.forEach((row, r) => columns.forEach((column, c) => {
    const unit = cells.get(turned ? `${row} ${column}` : `${column} ${row}`);
    const value = unit && (ofKl || finite(unit[key])) ? of(unit) : null;
    const fill = colour(value), room = width / columns.length > 34;
    list.push({value: [c, r, value ?? 0], itemStyle: {color: fill, borderColor: theme.paper, borderWidth: 1},
      label: {show: value === null || value === 0 || room, color: value > 0 ? inkOn(fill) : theme.quiet, fontSize: 11,
        formatter: value === null ? '' : value === 0 ? '0' : significant(value, 2)}});
    points.push({series: 0, index: list.length - 1, block: turned ? row : column, role: turned ? column : row, unit: unit?.at, value,
      text: unit ? `${placeOf(unit)}: ${name} ${significant(value)}` +
        `; ${finite(unit.bits) ? `${significant(unit.bits)} bits, ` : ''}${significant(unit.bytes / 1e3)} kB` : ofKl ? 'not measured' : 'nothing here'});
  }));
  const worst = points.reduce((a, b) => (b.value ?? -Infinity) > (a.value ?? -Infinity) ? b : a);
  const cell = turned ? 22 : 34, end = ofKl ? v => v : Math.exp;
  return {
    title: `${sentence(name)}: most in ${placeOf(worst)} (${significant(worst.value)}); colour from ${significant(end(low))} to ${significant(end(high))}${ofKl ? '' : ', logarithmic'}`,
    about: `Heat map of ${blocks.length} blocks and ${roles.length} roles.`,
    height: rows.length * cell + 70, points, columns: columns.length,
    // The page has those of the errors and of the shares.
    table: key === 'relative_error' || ofKl ? null : {head: ['block', ...roles.map(visible)],
      rows: blocks.map(b => [String(b), ...roles.map(role => significant(cells.has(`${b} ${role}`) ? of(cells.get(`${b} ${role}`)) : null))])},
    option: {
      ...base(theme, `${name} of every ${ofKl ? 'part' : 'linear'}.`),
      grid: {left: turned ? (ofKl ? 76 : 44) : 110, right: 12, top: turned ? 84 : 8, bottom: turned ? 12 : 48},
      xAxis: categoryAxis(theme, turned ? '' : 'block', columns.map(visible), turned ? {position: 'top', axisLabel: {color: theme.quiet, fontSize: 12, rotate: 60, interval: 0}} : {nameGap: 28}),
      yAxis: categoryAxis(theme, '', rows.map(visible), {inverse: true}),
      series: [{type: 'heatmap', data: list, emphasis: {itemStyle: {borderColor: theme.ink, borderWidth: 2}}}],
    },
  };
}

const kParts = [['block', 'blocks'], ['role', 'roles'], ['table', 'tables'], ['linear', 'linears of the worst blocks']];

export function shares(chart) {
  const {data, theme, width} = chart, model = data.models[chart.model];
  const parts = kParts.filter(([kind]) => model.units.some(u => u.kind === kind));
  if (!parts.length) return null;
  const kind = chart.choose('part', 'Parts', parts), [name, of, says] = share(chart, model);
  const units = model.units.flatMap((u, at) => u.kind === kind ? [{...u, at}] : []), values = units.map(of);
  const worst = units[values.indexOf(Math.max(...values))], upright = kind === 'block', nameOf = u => upright ? `block ${u.block}` : visible(u.unit);
  const narrow = width < 600, left = narrow ? 120 : 240;
  const across = categoryAxis(theme, upright ? 'block' : '', units.map(u => upright ? String(u.block) : nameOf(u)),
    upright ? {nameGap: 26} : {inverse: true, axisLabel: {color: theme.ink, fontSize: 12, width: left - 14, overflow: 'truncate', interval: 0}});
  const up = valueAxis(theme, '% of the KL', {nameGap: upright ? 36 : 26});
  return {
    title: `${upright ? sentence(nameOf(worst)) : nameOf(worst)} costs most: ${says(significant(of(worst)))}`,
    about: `${sentence(name)}: ${units.length} ${parts.find(([k]) => k === kind)[1]}, each measured by itself.`,
    height: upright ? 240 : units.length * 22 + 60,
    points: units.map((u, index) => ({series: 0, index, unit: u.at, text: `${nameOf(u)}: ${says(significant(of(u)))}; ${significant(u.bytes / 1e6)} MB, ${significant(u.bytes_8bit / 1e6)} at 8 bits`})),
    option: {
      ...base(theme, 'Share of the KL by part.'),
      grid: upright ? {left: 52, right: 12, top: 12, bottom: 44} : {left, right: 24, top: 8, bottom: 44},
      xAxis: upright ? across : up, yAxis: upright ? up : across,
      series: [{type: 'bar', data: values, barMaxWidth: 18, itemStyle: {color: '#0072B2'}}],
    },
  };
}
