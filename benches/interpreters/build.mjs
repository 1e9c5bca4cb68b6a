// node build.mjs SOURCE WIT OUT: makes a component of the world that jobs are built for. None of WASI is
// wanted: a job may not import it.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, out] = process.argv.slice(2);
const { component, imports } = await componentize({
  sourcePath,
  witPath,
  worldName: 'inference',
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await writeFile(out, component);
console.error(`${component.length} bytes, imports: ${imports.map(([from]) => from).join(' ') || 'none'}`);
