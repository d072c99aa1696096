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
    for (const key of ['tasks', 'units', 'channel_ranges', 'answers', 'fidelity']) delete model[key];
    for (const key of ['decode_tok_s', 'prefill_tok_s', 'peak_rss_bytes', 'kl_ci95', 'kl_p99']) model[key] = null;
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
    if (i > 0) for (const key of ['units', 'channel_ranges', 'answers', 'tasks']) delete model[key];
    result.models.push(model);
  }
  const model = result.models[1], blocks = [...Array(126).keys()];
  for (const key of ['units', 'channel_ranges']) {
    const first = model[key].filter(row => row.block === 0 && row.role);
    model[key] = blocks.flatMap(block => first.map(row => ({...row, block, unit: `${names(block).slice(0, 60)}.${row.role}`})));
  }
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
    const wrong = [], data = JSON.parse(document.getElementById('data').textContent);
    const shown = [...document.querySelectorAll('[data-path]')];
    if (shown.length === 0) wrong.push('no figure says where it comes from');
    for (const element of shown) {
      const value = element.dataset.path.slice(1).split('/').reduce((at, key) => at?.[key], data) * Number(element.dataset.scale ?? 1);
      const text = element.textContent, [digits, exponent] = text.split('e'), behind = (digits.split('.')[1] ?? '').length;
      const unit = 10 ** ((exponent ? Number(exponent) : 0) - behind);
      if (!(Math.abs(Number(text) - value) <= 0.5001 * unit)) wrong.push(`shows ${text} for ${element.dataset.path}, which is ${value}`);
    }
    const own = chart => chart.place.closest('section');
    for (const chart of window.halftone.charts) {
      const {chart: kind, model} = chart.place.dataset;
      if (kind === 'damage' && chart.points) {
        const table = chart.place.nextElementSibling.querySelector('table'), head = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
        for (const point of chart.points) {
          const row = [...table.tBodies[0].rows].find(r => r.cells[0].textContent === String(point.block)), cell = row.cells[head.indexOf(point.role)].textContent;
          if (!point.text.includes(`% ${cell}`)) wrong.push(`the map says "${point.text}", the table ${cell}`);
        }
      } else if (kind === 'frontier') {
        const rows = [...own(chart).querySelector('table').tBodies[0].rows];
        for (const point of chart.points) {
          const size = Number(rows[point.model].cells[1].textContent.match(/[\d.]+/)), kl = rows[point.model].cells[3].textContent.match(/[\d.e-]+/)?.[0];
          const [, x, y] = point.text.match(/MB ([\d.e+-]+), KL, nats per token ([\d.e+-]+)/);
          if (Math.abs(Number(x) - size) > 0.05 + 5e-4 * size || y !== kl) wrong.push(`the frontier says "${point.text}", the table ${size} and ${kl}`);
        }
      } else if (kind === 'answer' && chart.points) {
        const tokens = data.models[model].answers[chart.place.dataset.answer].tokens;
        if (chart.points.some((point, i) => point.value !== tokens[i].kl)) wrong.push('the strip of an answer is not its tokens');
        if (chart.place.closest('.answer').querySelectorAll('.t').length !== tokens.length) wrong.push('an answer has other tokens than its strip');
      }
    }
    return wrong;
  }),

  fits: ({page}) => page.evaluate(() => {
    const wrong = [], width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) {
      const wide = [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > width + 0.5).slice(0, 3);
      wrong.push(`is ${document.documentElement.scrollWidth} wide in a window of ${width}: ${wide.map(e => `${e.tagName}.${e.className}`).join(' ')}`);
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

for (const [name, file] of Object.entries(pages))
  for (const colorScheme of ['light', 'dark']) {
    const opened = await open(file, {colorScheme}), {page} = opened;
    for (const width of name === 'full' ? [360, 700, 1280] : [360, 1280]) {
      await page.setViewportSize({width, height: 900});
      await drawAll(page);
      await page.waitForTimeout(50);
      note(`${name} ${width} ${colorScheme}`, await checks.fits(opened));
      if (name !== 'hostile' || width === 360) await page.screenshot({path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: name !== 'hostile'});
    }
    note(`${name} ${colorScheme}`, [...await checks.quiet(opened, file), ...await checks.figures(opened)]);
    if (name !== 'hostile') note(`${name} ${colorScheme}`, await checks.accessible(opened));
    await opened.close();
  }

// By keyboard: every control once, in the order of the page, each with a ring; and no trap.
{
  const {page, close} = await open(pages.full);
  const expected = await page.evaluate(() => {
    window.halftone.charts.forEach(chart => chart.draw());
    return [...document.querySelectorAll('a[href], button, select, summary, [tabindex="0"]')].filter(e => e.checkVisibility()).length;
  });
  const order = [];
  for (let i = 0; i < expected + 5; ++i) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      if (e === document.body) return null;
      const all = [...document.querySelectorAll('*')];
      return {place: all.indexOf(e), ring: getComputedStyle(e).outlineStyle !== 'none', what: `${e.tagName} ${e.textContent.slice(0, 30)}`};
    });
    if (!at || at.place === order[0]?.place) break;
    order.push(at);
  }
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
  await page.locator('[data-chart=damage] select').first().selectOption('bits');
  const hash = await page.evaluate(() => location.hash);
  await close();
  const again = await open(pages.full, {hash});
  await again.page.evaluate(() => window.halftone.charts.forEach(chart => chart.draw()));
  if (await again.page.locator('[data-chart=damage] select').first().inputValue() !== 'bits') note('fragment', [`${hash} does not bring the choice back`]);
  await again.close();
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
  await drawAll(opened.page);
  if ((await checks[check](opened, file)).length === 0) note('checks', [`"${check}" does not notice a page that ${what}`]);
  await opened.close();
}

await browser.close();
for (const line of wrong) console.log(line);
console.log(wrong.length === 0 ? 'nothing wrong' : `${wrong.length} things wrong; pages and screenshots: ${folder}`);
process.exitCode = wrong.length === 0 ? 0 : 1;
