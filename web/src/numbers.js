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
