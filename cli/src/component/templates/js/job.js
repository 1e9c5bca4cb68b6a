// The job: each line in upper case.

import { BadInput, each } from './assay.js';

// Answers one item with a string, bytes, or anything that JSON can spell. An error fails the shard, alike on every
// replica, so it should name what is at fault.
export const run = each((item) => {
  const text = item.text();
  if (text.trim() === '') throw new BadInput('the line is empty');
  return text.toUpperCase();
});
