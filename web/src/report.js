// The script of the page: charts over tables that are there without it.
import {answer, walkTokens} from './answer.js';
import {Chart} from './chart.js';
import {damage, shares} from './damage.js';
import {frontier} from './frontier.js';
import {unpacked} from './numbers.js';
import {Page} from './page.js';
import {ranges} from './ranges.js';
import {recipes} from './recipes.js';
import {speed} from './speed.js';
import {cost, lengths, sweep} from './sweep.js';
import {tasks} from './tasks.js';
import {palettes} from './theme.js';

const kCharts = {answer, cost, damage, frontier, lengths, ranges, shares, speed, sweep, tasks};

const page = new Page(unpacked(JSON.parse(document.getElementById('data').textContent)));
for (const place of document.querySelectorAll('.chart')) new Chart(place, kCharts[place.dataset.chart], page);
recipes(page);
page.restore();
walkTokens(page);

const save = document.createElement('button');
save.type = 'button';
save.textContent = 'Save the figures of this page as JSON';
save.addEventListener('click', () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(page.data)], {type: 'application/json'}));
  link.download = 'comparison.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
document.getElementById('download').append(save);
window.halftone = Object.assign(page, {palettes});
