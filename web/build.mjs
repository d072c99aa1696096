// node build.mjs FOLDER: report.js, report.css and policy.txt, as halftone/report/assets.cc embeds them.
import {createHash} from 'node:crypto';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {build} from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url)), out = process.argv[2];
mkdirSync(out, {recursive: true});
await build({
  entryPoints: [join(here, 'src/report.js'), join(here, 'src/report.css')],
  outdir: out, bundle: true, minify: true, format: 'iife', target: 'es2020', charset: 'ascii', legalComments: 'none',
  banner: {js: '/* With Apache ECharts (Apache License 2.0) and zrender (BSD 3-Clause, Copyright Baidu Inc.); see their LICENSE and NOTICE. */'},
  define: {'process.env.NODE_ENV': '"production"'},
});
const hash = name => {
  const text = readFileSync(join(out, name), 'utf8');
  if (/<\/(script|style)/i.test(text)) throw new Error(`${name} would end its own element`);
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
};
writeFileSync(join(out, 'policy.txt'),
  `default-src 'none'; script-src ${hash('report.js')}; style-src ${hash('report.css')}; img-src data:; base-uri 'none'; form-action 'none'`);
