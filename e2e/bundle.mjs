// Builds the files of Coveo's CDN from the packages in node_modules, and writes
// them to cdn/ under the CDN's paths. Atomic and Headless import other packages
// by bare names, which a browser cannot resolve, so they are bundled. JSUI's
// package already has the CDN's files.
import {build} from 'esbuild';
import {cpSync, readdirSync, rmSync} from 'node:fs';

const modules = 'node_modules/@coveo';
const atomic = `${modules}/atomic/dist/atomic`;
const options = {
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  conditions: ['browser'],
  define: {'process.env': '{}', 'process.env.NODE_ENV': '"production"'},
  logLevel: 'error',
};

rmSync('cdn', {recursive: true, force: true});
await build({
  ...options,
  entryPoints: [`${modules}/headless/dist/esm/index.js`],
  outfile: 'cdn/headless/v3/headless.esm.js',
});
// Atomic loads Stencil's components by file name, so each is an entry point.
const entries = readdirSync(atomic).filter((name) => /^(atomic\.esm|p-\w+\.entry)\.js$/.test(name));
await build({
  ...options,
  entryPoints: entries.map((name) => `${atomic}/${name}`),
  outdir: 'cdn/atomic/v3',
  splitting: true,
});
for (const folder of ['assets', 'lang', 'themes']) {
  cpSync(`${atomic}/${folder}`, `cdn/atomic/v3/${folder}`, {recursive: true});
}
