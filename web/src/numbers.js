// Numbers as halftone/base/numbers.cc writes them, and text that shows what cannot be seen.
export function significant(x, digits = 3) {
  if (x === null || x === undefined || !Number.isFinite(x)) return '\u2013';
  if (x === 0) return '0';
  const magnitude = Math.floor(Math.log10(Math.abs(x)));
  if (magnitude < -4 || magnitude > 6) return x.toExponential(digits - 1).replace(/e([+-])(\d)$/, 'e$10$2');
  return x.toFixed(Math.max(0, digits - 1 - magnitude));
}

export const finite = x => typeof x === 'number' && Number.isFinite(x);

// Control, bidirectional and zero-width characters by their code, as escape_html() has them; canvas text is drawn, never markup.
export const visible = text => String(text).replace(
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
  c => /[\n\r\t]/.test(c) ? ' ' : `[U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}]`);

export const shortened = (text, most = 28) => {
  const all = visible(text);
  return all.length <= most ? all : `${all.slice(0, most / 2 - 1)}\u2026${all.slice(1 - most / 2)}`;
};

// Digits behind the point by which cells up to `most` are short and alike.
export const behind = most => Math.min(Math.max(1 - Math.floor(Math.log10(most || 1)), 0), 4);

export const sentence = text => text.charAt(0).toUpperCase() + text.slice(1);

// What packed_lists() of halftone/report/html.cc made smaller.
export const unpacked = value => Array.isArray(value) ? value.map(unpacked) : value === null || typeof value !== 'object' ? value
  : value.columns && value.rows ? value.rows.map(row => Object.fromEntries(row.map((field, i) => [value.columns[i], unpacked(field)])))
  : Object.fromEntries(Object.entries(value).map(([key, field]) => [key, unpacked(field)]));
