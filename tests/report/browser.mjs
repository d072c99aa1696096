// node browser.mjs REPORT_PAGE FOLDER: makes pages with the program REPORT_PAGE, looks at them in headless Chromium, leaves pages and
// screenshots in FOLDER. Prints what is wrong, a line each, and ends with 1 then.
import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const require = createRequire(new URL('../../web/package.json', import.meta.url));
const {chromium} = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const [tool, folder] = process.argv.slice(2);
mkdirSync(folder, {recursive: true});
const recorded = JSON.parse(readFileSync(new URL('../fixtures/report/comparison.json', import.meta.url), 'utf8'));
const clone = value => JSON.parse(JSON.stringify(value));

function makePage(name, data) {
  const json = join(folder, `${name}.json`), html = join(folder, `${name}.html`);
  writeFileSync(json, JSON.stringify(data));
  execFileSync(tool, [json, html]);
  return html;
}

// One candidate, nothing but its divergence, over one window: no intervals, no speed.
function plain() {
  const data = clone(recorded), {result} = data;
  for (const key of ['prompts', 'sweep', 'noise_floor']) delete result[key];
  result.windows = 1;
  result.models = result.models.slice(0, 2);
  for (const model of result.models) {
    for (const key of ['tasks', 'weights', 'units', 'units_measured', 'advice', 'channel_ranges', 'answers', 'fidelity', 'recipe']) delete model[key];
    for (const key of ['decode_tok_s', 'prefill_tok_s', 'peak_rss_bytes', 'load_ms', 'energy', 'kl_ci95', 'kl_p99']) model[key] = null;
  }
  return data;
}

const kHostile = ['</script><script>window.broken=1</script>', '<img src=x onerror="window.broken=1">', 'a\u202eb\u200bc\u0007', 'x'.repeat(10000),
  '"\'&<b>', '\u{1f600}\u05d0\u05d1', '--><!--', '${1+1}'];
// Names and tokens that want to be markup, 12 models, 126 blocks, 57 tasks, KL exactly 0.
function hostile() {
  const data = clone(recorded), {result} = data, [reference, candidate] = result.models;
  const names = i => kHostile[i % kHostile.length];
  result.models = [reference];
  for (let i = 0; i < 11; ++i) {
    const model = clone(candidate);
    model.name = `${names(i)} ${i}`;
    model.bytes = candidate.bytes * (1 + i / 7);
    model.kl_mean = i === 3 ? 0 : candidate.kl_mean / (1 + i);
    model.kl_ci95 = [model.kl_mean * 0.9, model.kl_mean * 1.1];
    if (i > 0) for (const key of ['weights', 'units', 'units_measured', 'advice', 'channel_ranges', 'answers', 'tasks']) delete model[key];
    result.models.push(model);
  }
  const model = result.models[1], blocks = [...Array(126).keys()];
  for (const key of ['weights', 'channel_ranges']) {
    const first = model[key].filter(row => row.block === 0 && row.role);
    model[key] = blocks.flatMap(block => first.map(row => ({...row, block, op: `${names(block).slice(0, 60)}.${row.role}`})));
  }
  const whole = model.units.find(unit => unit.kind === 'block');
  model.units = [...blocks.map(block => ({...whole, block, unit: `${names(block).slice(0, 60)}.${block}`, saved: (block - 20) / 1000})), ...model.units.filter(unit => unit.kind === 'role')];
  model.advice = recorded.result.models.find(m => m.advice?.length).advice.map((line, i) => ({...line, keep: names(i)}));
  model.tasks = [...Array(57).keys()].map(i => ({task: `mmlu_${names(i).slice(0, 60)}_${i}`, metric: 'acc', n: 100, reference: 0.5, value: 0.5 - i / 1000, change: -i / 1000,
    change_ci95: [-i / 1000 - 0.02, -i / 1000 + 0.02], lost: i, won: 2, p_mcnemar: 0.1, p_holm: i > 50 ? 0.01 : 1, verdict: i > 50 ? 'worse' : 'no difference shown',
    flipped: [{doc_id: i, reference_choice: names(i), choice: names(i + 1), label: names(i + 2)}], flipped_left_off: 3}));
  model.answers.forEach((answer, i) => {
    answer.prompt = names(i);
    answer.tokens.forEach((token, t) => { token.text = names(t).slice(0, 300); });
    answer.candidate_tokens.forEach((token, t) => { token.text = names(t + 1).slice(0, 300); });
  });
  model.answers[0].tokens[0].text = kHostile[3];
  reference.name = names(1);
  if (result.sweep) result.sweep.models[0].name = names(0);
  data.facts.command = kHostile.join(' ');
  return data;
}

const browser = await chromium.launch({executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--force-device-scale-factor=1']});

// A page in a window of its own, with what it asked for and what it complained about.
async function open(file, options = {}) {
  const context = await browser.newContext({viewport: {width: 1280, height: 900}, ...options});
  const page = await context.newPage(), seen = {requests: [], complaints: []};
  page.on('request', request => seen.requests.push(request.url()));
  page.on('console', message => ['warning', 'error'].includes(message.type()) && seen.complaints.push(message.text()));
  page.on('pageerror', error => seen.complaints.push(String(error)));
  page.on('dialog', dialog => { seen.complaints.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
  await context.route(/^(?!file:)/, route => route.abort());
  await page.goto(pathToFileURL(file) + (options.hash ?? ''));
  return {page, seen, close: () => context.close()};
}

const drawAll = page => page.evaluate(() => {
  document.querySelectorAll('details').forEach(details => { details.open = true; });
  window.halftone.charts.forEach(chart => chart.draw());
});

// Each check gives what is wrong, as lines.
const checks = {
  async quiet({page, seen}, file) {
    const wrong = seen.complaints.map(text => `complains: ${text}`);
    if (seen.requests.length !== 1) wrong.push(`asks for ${seen.requests.join(' ')}`);
    const bytes = readFileSync(file).length;
    if (bytes >= 2e6) wrong.push(`has ${bytes} bytes`);
    if (await page.evaluate(() => window.broken !== undefined)) wrong.push('ran a script out of its data');
    if (await page.evaluate(() => document.querySelectorAll('img, b b').length > 0)) wrong.push('has markup out of its data');
    return wrong;
  },

  // What is shown is the number at data-path, and charts show what tables show.
  figures: ({page}) => page.evaluate(() => {
    const wrong = [], {data} = window.halftone;
    const shown = [...document.querySelectorAll('[data-path]')];
    if (shown.length === 0) wrong.push('no figure says where it comes from');
    for (const element of shown) {
      const path = (element.closest('[data-base]')?.dataset.base ?? '') + element.dataset.path;
      const value = path.slice(1).split('/').reduce((at, key) => at?.[key], data) * Number(element.dataset.scale ?? 1);
      const text = element.textContent, [digits, exponent] = text.split('e'), behind = (digits.split('.')[1] ?? '').length;
      const unit = 10 ** ((exponent ? Number(exponent) : 0) - behind);
      if (!(Math.abs(Number(text) - value) <= 0.5001 * unit)) wrong.push(`shows ${text} for ${path}, which is ${value}`);
    }
    // Charts against tables that were written without them, else against the page's data.
    const own = chart => chart.place.closest('section');
    const cellsOf = table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent));
    const headOf = table => [...table.tHead.rows[0].cells].map(cell => cell.textContent);
    const tableAfter = chart => chart.place.nextElementSibling.querySelector('table');
    const expect = (right, words) => { if (!right) wrong.push(words); };
    // As somebody who chooses in a menu; a chart has none for a single choice.
    const show = (chart, name, value) => {
      const select = chart.selects.get(name);
      if (!select) return;
      select.value = value;
      select.dispatchEvent(new Event('change'));
    };
    // Of a part of the model, where the page has its share of the KL.
    const shareCell = (chart, unit, how) => document.querySelector(`#damage [data-base="/models/${chart.model}/units/"] [data-path="${unit}/${how}"][data-scale]`).textContent;
    const checks = {
      damage(chart) {
        const table = tableAfter(chart), head = headOf(table), rows = cellsOf(table);
        for (const point of chart.points) {
          const cell = rows.find(row => row[0] === String(point.block))[head.indexOf(point.role)];
          expect(point.text.includes(`% ${cell}`), `the map says "${point.text}", the table ${cell}`);
        }
        // Shares of the KL from both sides, a cell a part.
        const units = data.models[chart.model].units;
        if (!units) return;
        const cells = units.filter(unit => unit.kind !== 'table').length;
        for (const how of ['saved', 'kl_only']) {
          show(chart, 'show', 'share');
          show(chart, 'how', how);
          const drawn = chart.points.filter(point => point.unit !== undefined);
          expect(drawn.length === cells, `the map has ${drawn.length} shares of ${cells}`);
          for (const point of drawn) {
            const cell = shareCell(chart, point.unit, how);
            expect(point.text.includes(`% ${cell};`), `the map says "${point.text}", the table of shares ${cell}`);
          }
        }
        show(chart, 'how', 'saved');
        show(chart, 'show', 'relative_error');
      },
      frontier(chart) {
        const rows = cellsOf(own(chart).querySelector('.chart ~ .scroll table'));
        for (const point of chart.points) {
          const size = Number(rows[point.model][1].match(/[\d.]+/)), kl = rows[point.model][3].match(/[\d.e-]+/)?.[0];
          const [, x, y] = point.text.match(/MB ([\d.e+-]+), KL, nats per token ([\d.e+-]+)/);
          expect(Math.abs(Number(x) - size) <= 0.05 + 5e-4 * size && y === kl, `the frontier says "${point.text}", the table ${size} and ${kl}`);
        }
        if (!data.models[0].energy) return;
        show(chart, 'x', 'energy');
        const energies = cellsOf(document.querySelector('#speed table')), source = data.models[0].energy.source.split(/[ ,]/)[0];
        for (const point of chart.points) {
          const drawn = point.text.match(/energy of decoding \((.*?)\), mJ per token ([\d.e+-]+),/), cell = energies[point.model][2];
          expect(drawn?.[1] === source && Math.abs(Number(drawn[2]) - Number(cell)) <= 0.0051 * Number(cell), `the frontier says "${point.text}", the table ${cell} by ${source}`);
        }
        show(chart, 'x', 'size');
      },
      answer(chart) {
        const {model, answer} = chart.place.dataset, tokens = data.models[model].answers[answer].tokens;
        expect(chart.points.every((point, i) => point.value === tokens[i].kl), 'the strip of an answer is not its tokens');
        expect(chart.place.closest('.answer').querySelectorAll('.t').length === tokens.length, 'an answer has other tokens than its strip');
      },
      // A row a task, of the tables up to the next model's chart.
      tasks(chart) {
        const rows = [];
        for (let at = chart.place.nextElementSibling; at && at.tagName !== 'H3'; at = at.nextElementSibling)
          for (const table of at.querySelectorAll('table')) if (headOf(table).includes('lost/won')) rows.push(...cellsOf(table));
        expect(chart.points.length === rows.filter(row => !/perplexity|bits_per/.test(row[0])).length, `${chart.points.length} tasks are drawn, ${rows.length} in the tables`);
        for (const task of data.models[chart.model].tasks.filter(t => t.skipped > 0))
          expect(rows.some(row => row[1] === `${task.n} ${task.skipped} skipped`), `no row says that ${task.skipped} items were skipped`);
        for (const point of chart.points) {
          const task = data.models[chart.model].tasks[point.task], row = rows.find(cells => cells[5] === `${task.lost}/${task.won}` && cells[1].split(' ')[0] === String(task.n));
          const [change, low, high] = point.text.match(/: (-?[\d.e-]+) points \[(.*), (.*)\]/).slice(1).map(Number);
          const told = row?.[4].match(/-?[\d.]+/g).map(Number) ?? [];
          expect([change, low, high].every((v, i) => Math.abs(v - told[i]) <= 0.0501 + 5e-3 * Math.abs(v)), `the tasks say "${point.text}", the table ${row?.[4]}`);
        }
      },
      speed(chart) {
        const table = document.querySelector('#frontier .chart ~ .scroll table'), head = headOf(table), rows = cellsOf(table);
        for (const point of chart.points) {
          const column = head.findIndex(name => name.startsWith(point.text.includes('prefill') ? 'prefill' : 'decode'));
          const told = Number(rows[point.index][column].match(/[\d.]+/)), drawn = Number(point.text.match(/tok\/s ([\d.e+]+)/)[1]);
          expect(Math.abs(told - drawn) <= 0.51 + 5e-4 * drawn, `the speed says "${point.text}", the table ${told}`);
        }
      },
      shares(chart) {
        const {units} = data.models[chart.model], kinds = [...new Set(units.map(unit => unit.kind))];
        for (const kind of kinds)
          for (const how of ['saved', 'kl_only']) {
            show(chart, 'part', kind);
            show(chart, 'how', how);
            expect(chart.points.length === units.filter(unit => unit.kind === kind).length, `${chart.points.length} shares of every ${kind} are drawn`);
            for (const point of chart.points) {
              const cell = shareCell(chart, point.unit, how);
              expect(point.text.includes(` ${cell} % `), `the shares say "${point.text}", the table ${cell}`);
            }
          }
        show(chart, 'part', kinds[0]);
        show(chart, 'how', 'saved');
      },
      // A table a model of its plane of temperature and top_k.
      sweep(chart) {
        const tables = [...own(chart).querySelectorAll('details details:not(.data) table')].filter(table => headOf(table)[0] === 'temperature').map(cellsOf);
        for (const point of chart.points.filter(p => p.model < tables.length)) {
          const cell = tables[point.model][point.row][point.column + 1];
          expect(point.text.endsWith(` ${cell}`), `the study says "${point.text}", the table ${cell}`);
        }
      },
      lengths(chart) {
        const rows = cellsOf(tableAfter(chart));
        for (const point of chart.points) expect(point.text.endsWith(` ${rows[point.model][point.index + 1]}`), `over length "${point.text}", the table ${rows[point.model][point.index + 1]}`);
      },
      cost(chart) {
        const rows = cellsOf(tableAfter(chart));
        for (const point of chart.points) {
          const [, , memory, , one, , all] = rows[point.model], told = `${one === '\u2013' ? all : one} tok/s in ${memory} MB`;
          expect(point.text.endsWith(told), `the cost says "${point.text}", the table ${told}`);
        }
      },
      // Median and largest, a table a model.
      ranges(chart) {
        const tables = new Map(data.models.flatMap((m, i) => m.channel_ranges?.length ? [[m.name, i]] : []).map(([, i], at) =>
          [String(i), own(chart).querySelectorAll('details details:not(.data) table')[at]]));
        for (const point of chart.points) {
          const table = tables.get(String(point.model)), head = headOf(table), row = cellsOf(table).find(cells => cells[0] === String(point.block));
          const [median, largest] = row[head.indexOf(point.role)].split(' / ');
          expect(point.text.includes(`median ${median}, `) && point.text.includes(` ${largest}`), `the boxes say "${point.text}", the table ${median} / ${largest}`);
        }
      },
    };
    for (const chart of window.halftone.charts) if (chart.points) checks[chart.place.dataset.chart](chart);
    // What a chart tabulates itself, against the page's data.
    const near = (cell, value) => typeof value === 'number' ? Math.abs(Number(cell) - value) <= 0.0051 * Math.abs(value) : cell === '\u2013';
    const told = {
      answer: chart => data.models[chart.model].answers[chart.place.dataset.answer].tokens.map(t => [, , t.kl]),
      frontier: chart => chart.points.map(point => [, data.models[point.model].bytes / 1e6, data.models[point.model].kl_mean]),
      ranges: chart => chart.points.map(({model, block, role}) => {
        const row = data.models[model].channel_ranges.find(r => r.block === block && r.role === role);
        return [block, , row.p1, row.q1, row.median, row.q3, row.p99];
      }),
      sweep: () => data.sweep.models.flatMap(m => m.summary.temperature_top_k[data.sweep.measures[0][0]].map((line, r) => [, data.sweep.grid.temperatures[r], ...line])),
      lengths: () => data.sweep.models.map(m => [, ...m.summary.by_length[data.sweep.measures[0][0]]]),
    };
    for (const chart of window.halftone.charts) {
      if (chart.fold.hidden || !chart.points) continue;
      const rows = cellsOf(chart.fold.querySelector('table')), values = told[chart.place.dataset.chart](chart);
      expect(rows.length === values.length + (chart.place.dataset.chart === 'sweep' ? data.sweep.grid.temperatures.length * (data.sweep.models.length - 1) : 0), `${chart.id} has ${rows.length} rows for ${values.length}`);
      values.forEach((line, r) => line.forEach((value, c) => expect(near(rows[r]?.[c], value), `${chart.id}, row ${r}: ${rows[r]?.[c]} for ${value}`)));
    }
    return wrong;
  }),

  fits: ({page}) => page.evaluate(() => {
    const wrong = [], width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) {
      const wide = [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > width + 0.5).slice(0, 3);
      wrong.push(`is ${document.documentElement.scrollWidth} wide in a window of ${width}: ${wide.map(e => `${e.tagName}.${e.className}`).join(' ')}`);
    }
    // A line of prose is read whole: 80 characters of the average width at most.
    for (const p of document.querySelectorAll('main p, main li, main dd, main summary')) {
      const style = getComputedStyle(p), pen = (window.pen ??= document.createElement('canvas').getContext('2d'));
      pen.font = style.font;
      if (p.getBoundingClientRect().width > 84 * pen.measureText('the quick brown fox jumps over the lazy dog').width / 43) wrong.push(`has lines of ${Math.round(p.getBoundingClientRect().width)} px: "${p.textContent.slice(0, 30)}"`);
    }
    for (const box of document.querySelectorAll('.figure'))
      if (box.scrollWidth > box.clientWidth) wrong.push(`cuts "${box.textContent}"`);
    return wrong;
  }),

  async accessible({page}) {
    // Through the debugger, not as a script of the page: its policy lets none in.
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, {resultTypes: ['violations']}));
    return found.violations.map(v => `axe: ${v.id}: ${v.nodes.slice(0, 3).map(n => `${n.target} ${n.any[0]?.message ?? ''}`).join('; ')}`);
  },
};

const wrong = [];
const note = (where, lines) => wrong.push(...lines.map(line => `${where}: ${line}`));

const pages = {full: makePage('full', recorded), plain: makePage('plain', plain()), hostile: makePage('hostile', hostile())};

// The same input, the same bytes.
const first = readFileSync(pages.full);
if (!first.equals(readFileSync(makePage('full', recorded)))) note('full', ['other bytes when made again']);

// Every page at every width that matters; the full one in both themes, its pictures kept.
for (const [name, file] of Object.entries(pages)) {
  const opened = await open(file, {colorScheme: 'light'}), {page} = opened;
  for (const colorScheme of name === 'full' ? ['light', 'dark'] : ['light']) {
    await page.emulateMedia({colorScheme});
    for (const width of {full: [360, 768, 1280, 1920], plain: [360, 1280], hostile: [360, 1280]}[name]) {
      await page.setViewportSize({width, height: 900});
      await drawAll(page);
      note(`${name} ${width} ${colorScheme}`, await checks.fits(opened));
      if (name === 'full' && (width === 1280 || colorScheme === 'light' && width === 360)) await page.screenshot({path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true});
    }
    if (name !== 'hostile') note(`${name} ${colorScheme}`, await checks.accessible(opened));
  }
  note(name, [...await checks.quiet(opened, file), ...await checks.figures(opened)]);
  await opened.close();
}

// The full page has all that a page can have: what its fixture lost, the checks above would pass over.
{
  const {page, close} = await open(pages.full);
  await drawAll(page);
  note('full', await page.evaluate(() => {
    const {charts, data} = window.halftone, chart = kind => charts.find(c => c.place.dataset.chart === kind);
    const offers = (kind, menu, value) => [...chart(kind)?.selects.get(menu)?.options ?? []].some(option => option.value === value);
    return [
      ['a chart that is drawn in every place', charts.every(c => !c.place.hidden && c.points.length > 0)],
      ['a box for the fields in which recipes differ', document.querySelector('#recipes input')],
      ['a table where answers part', document.querySelector('.parting td [data-path]')],
      ['a noise floor', data.noise_floor?.kl_mean > 0 && [...document.querySelectorAll('#method dt')].some(dt => dt.textContent === 'noise floor')],
      ['a menu of lengths', offers('sweep', 'length', '1')],
      ['advice', document.querySelector('.advice li [data-path]')],
      ['shares of the KL in the map', offers('damage', 'show', 'share')],
      ['shares of roles', offers('shares', 'part', 'role')],
      ['energy as an axis', offers('frontier', 'x', 'energy')],
      ['items that were skipped', document.querySelector('#tasks [data-path$="/skipped"]')],
      ['layers, JS and shares of the top five', data.models[1].layers?.length > 0 && data.models[1].js_mean > 0 && data.models[1].top5_agreement > 0],
    ].flatMap(([what, there]) => there ? [] : [`has not ${what}`]);
  }));
  await close();
}

// By keyboard: every control once, in the order of the page, each with a ring; and no trap.
{
  const {page, close} = await open(pages.full);
  const expected = await page.evaluate(() => {
    window.halftone.charts.forEach(chart => chart.draw());
    return [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex="0"]')].filter(e => e.checkVisibility()).length;
  });
  await page.evaluate(() => {
    const all = [...document.querySelectorAll('*')];
    window.order = [];
    document.addEventListener('focusin', ({target: e}) =>
      window.order.push({place: all.indexOf(e), ring: getComputedStyle(e).outlineStyle !== 'none', what: `${e.tagName} ${e.textContent.slice(0, 30)}`}));
  });
  for (let i = 0; i < expected + 5; ++i) await page.keyboard.press('Tab');
  let order = await page.evaluate(() => window.order);
  const round = order.findIndex((at, i) => i > 0 && at.place === order[0].place);
  if (round > 0) order = order.slice(0, round);
  const places = order.map(at => at.place);
  if (order.length !== expected) note('keyboard', [`${order.length} stops, ${expected} controls`]);
  if (places.some((place, i) => i > 0 && place <= places[i - 1])) note('keyboard', ['stops are not in the order of the page']);
  note('keyboard', order.filter(at => !at.ring).map(at => `no ring at ${at.what}`));

  const map = page.locator('[data-chart=damage] .canvas').first();
  await map.focus();
  for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown']) await page.keyboard.press(key);
  const {said, text, table} = await page.evaluate(() => {
    const chart = window.halftone.charts.find(c => c.place.dataset.chart === 'damage'), point = chart.points[chart.at];
    const cells = chart.place.nextElementSibling.querySelector('table');
    const column = [...cells.tHead.rows[0].cells].findIndex(c => c.textContent === point.role);
    return {said: document.getElementById('live').textContent, text: point.text, table: [...cells.tBodies[0].rows].find(r => r.cells[0].textContent === String(point.block)).cells[column].textContent};
  });
  if (said !== text || !said.includes(`% ${table}`)) note('keyboard', [`the live line says "${said}", the table ${table}`]);
  // Another figure than the table's has a table of its own.
  await page.locator('[data-chart=damage] select').first().selectOption('bits');
  const bits = await page.evaluate(() => {
    const chart = window.halftone.charts.find(c => c.place.dataset.chart === 'damage'), units = window.halftone.data.models[chart.model].weights.filter(u => u.block !== null);
    const rows = [...chart.fold.querySelectorAll('tbody tr')], head = [...chart.fold.querySelectorAll('thead th')].map(cell => cell.textContent);
    return units.filter(u => Math.abs(Number(rows.find(row => row.cells[0].textContent === String(u.block)).cells[head.indexOf(u.role)].textContent) - u.bits) > 0.006 * u.bits).length;
  });
  if (bits > 0) note('table', [`${bits} bits are not those of the data`]);

  // A link brings everything back, and so does the way back: what is chosen, what is open, the point the tip is on.
  const state = () => window.halftone.charts.map(chart => [...[...chart.selects.values()].filter(select => !select.parentElement.hidden).map(select => select.value), chart.at ?? null, chart.fold.open])
    .concat([[...document.querySelectorAll('details:not(.data)')].map(fold => fold.open)], [[document.querySelector('#recipes input').checked]]);
  const settle = async p => {
    await p.waitForTimeout(100);  // toggle events and hashchange come later
    await p.evaluate(() => window.halftone.charts.forEach(chart => chart.draw()));
  };
  await settle(page);
  const whole = await page.evaluate(state);
  await page.evaluate(() => {
    document.querySelector('[data-chart=frontier] details').open = true;
    document.querySelector('#sweep > details').open = true;
    document.querySelector('#recipes input').click();
  });
  await page.locator('[data-chart=sweep] select').first().selectOption({index: 1});
  await page.locator('[data-chart=frontier] .canvas').focus();
  await page.keyboard.press('ArrowRight');
  await settle(page);
  const before = await page.evaluate(state), hash = await page.evaluate(() => location.hash);
  if (JSON.stringify(before) === JSON.stringify(whole)) note('fragment', ['nothing was chosen']);
  await page.locator('nav a').nth(1).click();
  await page.locator('[data-chart=damage] select').first().selectOption({index: 0});
  await page.evaluate(() => { document.querySelector('#sweep > details').open = false; });
  await settle(page);
  if (JSON.stringify(await page.evaluate(state)) === JSON.stringify(before)) note('fragment', ['nothing changed after the link']);
  await page.goBack();
  await settle(page);
  if (JSON.stringify(await page.evaluate(state)) !== JSON.stringify(before)) note('fragment', ['going back does not bring back what was chosen']);
  if (await page.evaluate(() => location.hash) !== hash) note('fragment', ['going back changes the fragment']);
  await close();
  const again = await open(pages.full, {hash});
  await settle(again.page);
  const after = await again.page.evaluate(state);
  if (JSON.stringify(after) !== JSON.stringify(before)) note('fragment', [`${hash} does not bring the state back: ${before.flatMap((was, i) => JSON.stringify(was) === JSON.stringify(after[i]) ? [] : [`${JSON.stringify(was)} is ${JSON.stringify(after[i])}`])}`]);
  await again.close();
}

// To eyes without one kind of cone every series and both ends of a scale stay apart: their colours as the browser shows them then, at least
// 15 apart in CIELAB (1976), which nobody takes for the same.
{
  const {page, close} = await open(pages.full);
  const sets = await page.evaluate(() => window.halftone.palettes);
  await page.goto('about:blank');
  const protocol = await page.context().newCDPSession(page);
  for (const {name, series, bins} of sets)
    for (const type of ['none', 'deuteranopia', 'protanopia', 'tritanopia']) {
      const colours = [...series, ...bins];
      await protocol.send('Emulation.setEmulatedVisionDeficiency', {type});
      await page.setContent(`<body style="margin:0">${colours.map(c => `<div style="height:20px;background:${c}"></div>`).join('')}`);
      const picture = (await page.screenshot({clip: {x: 0, y: 0, width: 20, height: 20 * colours.length}})).toString('base64');
      const labs = await page.evaluate(async ([data, count]) => {
        const image = new Image();
        image.src = `data:image/png;base64,${data}`;
        await image.decode();
        const pen = document.createElement('canvas').getContext('2d');
        pen.canvas.height = 20 * count;
        pen.drawImage(image, 0, 0);
        return [...Array(count).keys()].map(i => {
          const [r, g, b] = [...pen.getImageData(5, 20 * i + 10, 1, 1).data].slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          const [x, y, z] = [(0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505, 0.2126 * r + 0.7152 * g + 0.0722 * b, (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089]
            .map(v => v > 0.008856 ? Math.cbrt(v) : 7.787 * v + 16 / 116);
          return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
        });
      }, [picture, colours.length]);
      const apart = (i, j) => Math.hypot(...labs[i].map((v, k) => v - labs[j][k]));
      for (let i = 0; i < colours.length; ++i)
        for (let j = i + 1; j < colours.length; ++j)
          // Series: any two; bins of a scale: neighbours.
          if ((j < series.length || i >= series.length && j === i + 1) && apart(i, j) < 15)
            note(`${name} ${type}`, [`${colours[i]} and ${colours[j]} are ${apart(i, j).toFixed(1)} apart`]);
    }
  await close();
}

// Every link inside the page goes to something.
{
  const {page, close} = await open(pages.full, {javaScriptEnabled: false});
  const html = await page.content(), ids = new Set([...html.matchAll(/ id="([^"]*)"/g)].map(match => match[1]));
  note('links', [...html.matchAll(/href="#([^"]*)"/g)].filter(match => !ids.has(match[1])).map(match => `#${match[1]} goes nowhere`));
  await close();
}

// Without scripts, without motion, on paper, in forced colours.
{
  const bare = await open(pages.full, {javaScriptEnabled: false});
  for (const words of ['gets another first choice', 'Furthest from the reference'])
    if (!(await bare.page.content()).includes(words)) note('no script', [`"${words}" is missing`]);
  if (await bare.page.locator('table').count() < 5 || await bare.page.locator('.chart:visible').count() > 0) note('no script', ['tables are missing, or empty charts are there']);
  await bare.close();

  const still = await open(pages.full, {reducedMotion: 'reduce', forcedColors: 'active'});
  await drawAll(still.page);
  const moving = await still.page.evaluate(() => document.getAnimations().length + window.halftone.charts.filter(c => c.option?.animation).length);
  if (moving > 0) note('reduced motion', [`${moving} things move`]);
  await still.close();

  const paper = await open(pages.full, {colorScheme: 'dark'});
  await paper.page.evaluate(() => addEventListener('afterprint', () => { window.afterwards = document.querySelectorAll('details:not([open])').length; }));
  const before = await paper.page.evaluate(() => document.querySelectorAll('details:not([open])').length);
  const pdf = await paper.page.pdf({path: join(folder, 'full.pdf'), format: 'A4', printBackground: true});
  const count = (pdf.toString('latin1').match(/\/Type\s*\/Page\b/g) ?? []).length;
  if (count < 3 || count > 40) note('print', [`${count} pages`]);
  if (await paper.page.evaluate(() => window.afterwards) !== before) note('print', ['does not close what it opened']);
  note('print', paper.seen.complaints);
  await paper.close();
}

// Pages that are broken on purpose: each must fail its check.
const kBroken = [
  ['quiet', 'asks the network', html => html.replace('img-src data:', 'img-src *').replace('</main>', '<img alt="" src="https://127.0.0.1/x.png"></main>')],
  ['quiet', 'breaks its policy', html => html.replace('</main>', '<p style="color:red">x</p></main>')],
  ['figures', 'shows another figure', html => html.replace(/(data-path="\/models\/1\/kl_mean">)[^<]*/, '$19.99')],
  ['fits', 'is too wide', html => html.replace('<h1>', '<h1><span style="display:inline-block;width:2000px">x</span>').replace(/style-src [^;]*/, "style-src 'unsafe-inline'")],
  ['accessible', 'has pale text', html => html.replace(/--quiet: ?#5b6168/g, '--quiet:#c0c0c0').replace(/style-src [^;]*/, "style-src 'unsafe-inline'")],
];
for (const [check, what, breakIt] of kBroken) {
  const file = join(folder, 'broken.html');
  writeFileSync(file, breakIt(readFileSync(pages.full, 'utf8')));
  const opened = await open(file);
  if ((await checks[check](opened, file)).length === 0) note('checks', [`"${check}" does not notice a page that ${what}`]);
  await opened.close();
}

await browser.close();
for (const line of wrong) console.log(line);
console.log(wrong.length === 0 ? 'nothing wrong' : `${wrong.length} things wrong; pages and screenshots: ${folder}`);
process.exitCode = wrong.length === 0 ? 0 : 1;
