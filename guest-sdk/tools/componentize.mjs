// node componentize.mjs SOURCE WIT OUT: makes a component of the world that jobs are built for. The engine keeps
// clocks, randomness and streams, which a host serves deterministically; a job cannot reach the web.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, out] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName: 'inference',
  disableFeatures: ['http', 'fetch-event'],
});
await writeFile(out, component);
