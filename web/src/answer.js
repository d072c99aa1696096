// KL over the tokens of one answer, and the key that goes from one surprise to the next.
import {finite, shortened, significant, visible} from './numbers.js';
import {base, categoryAxis, valueAxis} from './theme.js';

const kEdges = [0.01, 0.1, 0.5, 2];
const binOf = kl => kEdges.filter(edge => kl >= edge).length;

const tokensOf = place => [...place.closest('.answer').querySelectorAll('.t')];

function mark(token) {
  for (const other of document.querySelectorAll('.t.at')) other.classList.remove('at');
  token?.classList.add('at');
}

const likely = (name, list) => `${name}: ${list.map(t => `${JSON.stringify(shortened(t.text, 30))} ${significant(t.p * 100)} %`).join(', ')}`;

export function answer(chart) {
  const {data, theme, place} = chart, {tokens, parts_at: parts, parts: tops} = data.models[chart.model].answers[Number(place.dataset.answer)];
  if (!tokens.length) return null;
  const spans = tokensOf(place), kls = tokens.map(t => finite(t.kl) ? t.kl : 0), most = kls.indexOf(Math.max(...kls));
  // A root on y: small values stay visible beside large ones.
  const top = Math.sqrt(Math.max(...kls, 0.01)) * 1.1;
  return {
    title: `Largest at token ${most + 1}, ${JSON.stringify(shortened(tokens[most].text, 60))}: KL ${significant(kls[most])}` + (finite(parts) ? `; free runs part at token ${parts + 1}` : ''),
    about: `KL of ${tokens.length} tokens of the reference's answer.`,
    height: 150,
    table: {head: ['token', 'text', 'KL'], rows: tokens.map((t, i) => [String(i + 1), JSON.stringify(visible(t.text)), significant(t.kl)])},
    points: tokens.map((t, index) => ({series: 0, index, value: t.kl, visit: () => mark(spans[index]),
      text: `token ${index + 1}, ${JSON.stringify(shortened(t.text, 60))}: KL ${significant(t.kl)}` +
        (index !== parts ? '' : `, here free runs part${tops ? `\n${likely('reference', tops.reference)}\n${likely('candidate', tops.candidate)}` : ''}`)})),
    option: {
      ...base(theme, 'KL over the tokens of the answer.'),
      grid: {left: 76, right: 8, top: 10, bottom: 40},
      xAxis: categoryAxis(theme, 'token', tokens.map((_, i) => String(i + 1)), {nameGap: 24}),
      yAxis: valueAxis(theme, 'KL (root)', {nameGap: 58, max: top, splitNumber: 4, axisLabel: {color: theme.quiet, fontSize: 12, formatter: v => significant(v * v, 2), showMaxLabel: false}}),
      series: [{type: 'bar', barCategoryGap: '10%', barMinHeight: 1, data: kls.map((kl, i) => ({value: Math.sqrt(kl),
        itemStyle: {color: theme.bins[binOf(kl)], ...(i === parts ? {borderColor: theme.ink, borderWidth: 1} : {})}}))}],
    },
  };
}

// Key n: the next token above 0.5 in the answers that are open.
export function walkTokens(page) {
  let last = null;
  document.addEventListener('keydown', event => {
    if (event.key !== 'n' || event.ctrlKey || event.altKey || event.metaKey || event.target.closest('select, input')) return;
    const all = [...document.querySelectorAll('.answer[open] .t.b3, .answer[open] .t.b4')];
    if (!all.length) return;
    last = all[(all.indexOf(last) + 1) % all.length];
    mark(last);
    last.scrollIntoView({block: 'center'});
    const chart = page.chartOf(last.closest('.answer').querySelector('.chart'));
    if (chart.points) page.say(chart.points[tokensOf(chart.place).indexOf(last)].text);
  });
}

