// Statistics of texts: one record of JSON in, one out. No model.

import { BadInput, each } from './assay.js';

/** How many of a text's words are shown. */
const TOP = 5;

/** Words too common to say anything of a text. */
const COMMON = new Set(
  ('a an and are as at be but by for from had has have he her his i in is it its me my no not of on or our shall she so ' +
    'that the their them they this thou thy to unto upon was we were which will with ye you').split(' '),
);

/** Runs of letters. The engine has no tables of Unicode, so `\\p{L}` would not do. */
const WORDS = /[a-z\u00c0-\u1fff\u3040-\ud7ff]+/g;

export const run = each((item) => {
  const record = item.json();
  if (typeof record?.text !== 'string') throw new BadInput('it has no field "text" with a string');
  return { id: record.id ?? item.index, ...statistics(record.text) };
});

function statistics(text) {
  const words = text.toLowerCase().match(WORDS) ?? [];
  const sentences = text.match(/[^.!?]+[.!?]*/g)?.filter((part) => part.search(WORDS) >= 0) ?? [];
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const telling = [...counts].filter(([word]) => !COMMON.has(word));
  // By how often, then by the alphabet of code points: the order must not depend on a locale.
  telling.sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return {
    characters: [...text].length,
    words: words.length,
    distinct: counts.size,
    sentences: sentences.length,
    words_per_sentence: sentences.length ? Math.round((100 * words.length) / sentences.length) / 100 : 0,
    top: telling.slice(0, TOP),
  };
}
