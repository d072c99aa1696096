// What each linear lost, as a heat map of blocks and roles; and shares of the KL, where they were measured.
import {finite, sentence, significant, visible} from './numbers.js';
import {base, categoryAxis, colourAt, inkOn, valueAxis} from './theme.js';

const kShows = [
  ['relative_error', 'error of the weights, %', u => u.relative_error * 100],
  ['bits', 'bits of a weight', u => u.bits],
  ['bytes', 'size, kB', u => u.bytes / 1e3],
];

export function damage(chart) {
  const {data, theme, width} = chart, model = data.models[chart.model];
  const units = model.units.filter(u => finite(u.block) && u.role);
  const shows = kShows.filter(([key]) => units.some(u => finite(u[key])));
  if (!units.length || !shows.length) return null;
  const [key, name, of] = shows.find(([k]) => k === chart.choose('show', 'Show', shows.map(([k, n]) => [k, n])));
  const blocks = [...new Set(units.map(u => u.block))].sort((a, b) => a - b), roles = [...new Set(units.map(u => u.role))];
  const turned = width < 600, cells = new Map(units.map(u => [`${u.block} ${u.role}`, u]));
  const values = units.map(of).filter(v => v > 0), low = Math.log(Math.min(...values)), high = Math.log(Math.max(...values));
  const colour = v => !(v > 0) ? theme.paper : colourAt(theme.sequential, high > low ? (Math.log(v) - low) / (high - low) : 0.5);
  const rows = turned ? blocks : roles, columns = turned ? roles : blocks;
  const list = [], points = [];
  rows.forEach((row, r) => columns.forEach((column, c) => {
    const unit = cells.get(turned ? `${row} ${column}` : `${column} ${row}`);
    const value = unit && finite(unit[key]) ? of(unit) : null;
    const fill = colour(value), room = width / columns.length > 34;
    list.push({value: [c, r, value ?? 0], itemStyle: {color: fill, borderColor: theme.paper, borderWidth: 1},
      label: {show: value === null || value === 0 || room, color: value > 0 ? inkOn(fill) : theme.quiet, fontSize: 11,
        formatter: value === null ? '' : value === 0 ? '0' : significant(value, 2)}});
    points.push({series: 0, index: list.length - 1, block: turned ? row : column, role: turned ? column : row, value,
      text: unit ? `block ${unit.block}, ${visible(unit.role)}: ${name} ${significant(value)}` +
        (finite(unit.bits) ? `; ${significant(unit.bits)} bits, ${significant(unit.bytes / 1e3)} kB` : '') : 'nothing here'});
  }));
  const worst = points.reduce((a, b) => (b.value ?? -1) > (a.value ?? -1) ? b : a);
  const cell = turned ? 22 : 34;
  return {
    title: `${sentence(name)}: most in block ${worst.block}, ${visible(worst.role)} (${significant(worst.value)}); colour from ${significant(Math.exp(low))} to ${significant(Math.exp(high))}, logarithmic`,
    about: `Heat map of ${blocks.length} blocks and ${roles.length} roles.`,
    height: rows.length * cell + 70, points, columns: columns.length,
    // The page has one of the errors.
    table: key === 'relative_error' ? null : {head: ['block', ...roles.map(visible)],
      rows: blocks.map(b => [String(b), ...roles.map(role => significant(cells.has(`${b} ${role}`) ? of(cells.get(`${b} ${role}`)) : null))])},
    option: {
      ...base(theme, `${name} of every linear.`),
      grid: {left: turned ? 44 : 110, right: 12, top: turned ? 84 : 8, bottom: turned ? 12 : 48},
      xAxis: categoryAxis(theme, turned ? '' : 'block', columns.map(visible), turned ? {position: 'top', axisLabel: {color: theme.quiet, fontSize: 12, rotate: 60, interval: 0}} : {nameGap: 28}),
      yAxis: categoryAxis(theme, '', rows.map(visible), {inverse: true}),
      series: [{type: 'heatmap', data: list, emphasis: {itemStyle: {borderColor: theme.ink, borderWidth: 2}}}],
    },
  };
}

export function shares(chart) {
  const {data, theme} = chart, units = data.models[chart.model].units.filter(u => finite(u.kl_share) && finite(u.block) && !u.role);
  if (!units.length) return null;
  const values = units.map(u => u.kl_share * 100), worst = units[values.indexOf(Math.max(...values))];
  return {
    title: `Block ${worst.block} costs most: leaving it whole takes ${significant(worst.kl_share * 100)} % off the KL`,
    about: 'What leaving one block in full precision takes off the KL, in percent, measured block by block.',
    height: 240,
    points: units.map((u, index) => ({series: 0, index, text: `block ${u.block}: ${significant(u.kl_share * 100)} % of the KL, ${significant(u.bytes / 1e6)} MB`})),
    option: {
      ...base(theme, 'Share of the KL by block.'),
      grid: {left: 52, right: 12, top: 12, bottom: 44},
      xAxis: categoryAxis(theme, 'block', units.map(u => String(u.block)), {nameGap: 26}),
      yAxis: valueAxis(theme, '% of the KL', {nameGap: 36}),
      series: [{type: 'bar', data: values, itemStyle: {color: '#0072B2'}}],
    },
  };
}
