// The script of the page: charts over tables that are there without it.
import {answer, walkTokens} from './answer.js';
import {Chart} from './chart.js';
import {damage, shares} from './damage.js';
import {frontier} from './frontier.js';
import {Page} from './page.js';
import {ranges} from './ranges.js';
import {speed} from './speed.js';
import {sweep} from './sweep.js';
import {tasks} from './tasks.js';

const kCharts = {answer, damage, frontier, ranges, shares, speed, sweep, tasks};

const text = document.getElementById('data').textContent;
const page = new Page(JSON.parse(text));
for (const place of document.querySelectorAll('.chart')) new Chart(place, kCharts[place.dataset.chart], page);
page.show();
walkTokens(page);

const save = document.createElement('button');
save.type = 'button';
save.textContent = 'Save the figures of this page as JSON';
save.addEventListener('click', () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type: 'application/json'}));
  link.download = 'comparison.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
document.getElementById('download').append(save);
window.halftone = page;
