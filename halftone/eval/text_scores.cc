#include "halftone/eval/text_scores.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/eval/character_class.h"
#include "halftone/eval/python_text.h"

namespace halftone::eval {
namespace {

constexpr size_t kBleuOrder = 4;
constexpr size_t kCharacterOrder = 6;
constexpr double kBetaSquared = 4;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_stop(char c) { return c == '.' || c == ','; }
// [\{-\~\[-\` -\&\(-\+\:-\@\/] of mteval-v13a: ASCII punctuation without ' , - .
bool stands_alone(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

// Pairs of neighbours for which `both` holds, from the left and without overlap, as re.sub finds
// them; `put` writes a pair. Text may be bytes where the classes are ASCII: what stands for "any other
// character" is then the nearest byte of it.
template <class Text, class Both, class Put>
Text replace_pairs(const Text& text, const Both& both, const Put& put) {
  Text out;
  out.reserve(text.size() + text.size() / 4);
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && both(text[i], text[i + 1])) {
      put(out, text[i], text[i + 1]);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string tokenize_13a(std::string_view line) {
  std::string text(line);
  for (const auto& [from, to] : {std::pair{"<skipped>", ""},
                                 {"-\n", ""},
                                 {"\n", " "},
                                 {"&quot;", "\""},
                                 {"&amp;", "&"},
                                 {"&lt;", "<"},
                                 {"&gt;", ">"}})
    if (text.find(from) != std::string::npos) text = replace_all(std::move(text), from, to);
  std::string apart;
  for (const char c : " " + text + " ") {
    if (stands_alone(c))
      apart.append({' ', c, ' '});
    else
      apart += c;
  }
  text = replace_pairs(
      apart, [](char a, char b) { return !is_digit(a) && is_stop(b); },
      [](std::string& out, char a, char b) {
        out.append({a, ' ', b, ' '});
      });
  text = replace_pairs(
      text, [](char a, char b) { return is_stop(a) && !is_digit(b); },
      [](std::string& out, char a, char b) {
        out.append({' ', a, ' ', b});
      });
  return replace_pairs(
      text, [](char a, char b) { return is_digit(a) && b == '-'; },
      [](std::string& out, char a, char b) {
        out.append({a, ' ', b, ' '});
      });
}

// Punctuation stands alone unless a digit is on the other side of it; symbols always do.
std::string tokenize_international(std::string_view line) {
  const auto is = [](char32_t c, CharacterClass what) { return character_class(c) == what; };
  std::u32string text = replace_pairs(
      characters(line),
      [&](char32_t a, char32_t b) {
        return !is(a, CharacterClass::number) && is(b, CharacterClass::punctuation);
      },
      [](std::u32string& out, char32_t a, char32_t b) {
        out.append({a, U' ', b, U' '});
      });
  text = replace_pairs(
      text,
      [&](char32_t a, char32_t b) {
        return is(a, CharacterClass::punctuation) && !is(b, CharacterClass::number);
      },
      [](std::u32string& out, char32_t a, char32_t b) {
        out.append({U' ', a, U' ', b});
      });
  std::u32string apart;
  for (const char32_t c : text) {
    if (is(c, CharacterClass::symbol))
      apart.append({U' ', c, U' '});
    else
      apart += c;
  }
  return utf8(apart);
}

// Words as numbers, so that n-grams of words and of characters are one thing: views into a sequence
// of 32-bit values.
class Numbers {
 public:
  template <class Pieces>
  std::u32string of(const Pieces& words) {
    std::u32string out;
    for (const auto& word : words)
      out +=
          known_.try_emplace(std::string(word), static_cast<char32_t>(known_.size())).first->second;
    return out;
  }

 private:
  std::unordered_map<std::string, char32_t> known_;
};

struct Gram {
  std::u32string_view units;
  int64_t count = 0;
};
using Grams = std::vector<Gram>;  // distinct, sorted

Grams grams_of(std::u32string_view sequence, size_t order) {
  std::vector<std::u32string_view> all;
  for (size_t i = 0; i + order <= sequence.size(); ++i) all.push_back(sequence.substr(i, order));
  std::sort(all.begin(), all.end());
  Grams out;
  for (const auto& units : all) {
    if (out.empty() || out.back().units != units) out.push_back({units});
    ++out.back().count;
  }
  return out;
}

// The larger count of each.
Grams either(const Grams& a, const Grams& b) {
  Grams out;
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out),
             [](const Gram& x, const Gram& y) { return x.units < y.units; });
  size_t kept = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (kept > 0 && out[kept - 1].units == out[i].units)
      out[kept - 1].count = std::max(out[kept - 1].count, out[i].count);
    else
      out[kept++] = out[i];
  }
  out.resize(kept);
  return out;
}

int64_t matches(const Grams& a, const Grams& b) {
  int64_t sum = 0;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    const int order = x->units.compare(y->units);
    if (order == 0) sum += std::min(x->count, y->count);
    if (order <= 0) ++x;
    if (order >= 0) ++y;
  }
  return sum;
}

double count_of(std::u32string_view sequence, size_t order) {
  return sequence.size() < order ? 0 : static_cast<double>(sequence.size() - order + 1);
}

// Row: words of the text, of the reference of the closest length, then by order the matched n-grams,
// then all of the text.
void count_bleu(const TextItem& item, Words words, std::span<double> row) {
  Numbers numbers;
  const std::u32string text = numbers.of(split_words(item.text, words));
  std::vector<std::u32string> references;
  for (const std::string& reference : item.references)
    references.push_back(numbers.of(split_words(reference, words)));
  const auto distance = [&](const std::u32string& reference) {
    return std::pair(std::abs(std::ssize(reference) - std::ssize(text)), reference.size());
  };
  row[0] = static_cast<double>(text.size());
  row[1] = static_cast<double>(
      std::min_element(references.begin(), references.end(), [&](const auto& a, const auto& b) {
        return distance(a) < distance(b);  // the shorter one on ties
      })->size());
  for (size_t n = 1; n <= kBleuOrder; ++n) {
    Grams known;
    for (const std::u32string& reference : references)
      known = either(known, grams_of(reference, n));
    row[1 + n] = static_cast<double>(matches(grams_of(text, n), known));
    row[1 + kBleuOrder + n] = count_of(text, n);
  }
}

// Words of chrF++: a punctuation mark at the end of a word, or else at its beginning, is a word.
std::vector<std::string_view> words_and_marks(std::string_view text) {
  constexpr std::string_view kMarks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  const auto is_mark = [&](char c) { return kMarks.find(c) != std::string_view::npos; };
  std::vector<std::string_view> out;
  for (const std::string_view word : split(text)) {
    const size_t n = word.size();
    if (code_points(word) > 1 && is_mark(word[n - 1]))
      out.insert(out.end(), {word.substr(0, n - 1), word.substr(n - 1)});
    else if (code_points(word) > 1 && is_mark(word[0]))
      out.insert(out.end(), {word.substr(0, 1), word.substr(1)});
    else
      out.push_back(word);
  }
  return out;
}

// n-grams by order, those of characters first: of the text, of the reference, of both.
double chrf(std::span<const double> sums) {
  double precision = 0, recall = 0, orders = 0;
  for (size_t i = 0; i < sums.size(); i += 3) {
    if (sums[i] == 0 || sums[i + 1] == 0) continue;
    precision += sums[i + 2] / sums[i];
    recall += sums[i + 2] / sums[i + 1];
    orders += 1;
  }
  if (orders > 0) precision /= orders, recall /= orders;
  if (precision + recall == 0) return 0;
  double score = (1 + kBetaSquared) * precision * recall;
  score /= kBetaSquared * precision + recall;
  return 100 * score;
}

struct Sequences {
  std::u32string characters, words;
};

void count_chrf(const TextItem& item, size_t word_order, std::span<double> row) {
  Numbers numbers;
  const auto sequences = [&](std::string_view text) {
    Sequences out;
    for (const std::string_view word : split(text)) out.characters += characters(word);
    if (word_order > 0) out.words = numbers.of(words_and_marks(text));
    return out;
  };
  const auto each_order = [&](const Sequences& s, const auto& take) {
    for (size_t n = 1; n <= kCharacterOrder; ++n) take(n - 1, s.characters, n);
    for (size_t n = 1; n <= word_order; ++n) take(kCharacterOrder + n - 1, s.words, n);
  };
  const Sequences text = sequences(item.text);
  std::vector<Grams> grams(kCharacterOrder + word_order);
  each_order(text,
             [&](size_t at, const std::u32string& s, size_t n) { grams[at] = grams_of(s, n); });
  std::vector<double> counts(row.size());
  double best = -1;
  for (const std::string& reference : item.references) {
    const Sequences other = sequences(reference);
    each_order(other, [&](size_t at, const std::u32string& s, size_t n) {
      const double known = count_of(s, n);
      const std::u32string& own = at < kCharacterOrder ? text.characters : text.words;
      // An order that the reference has not counts for nothing.
      counts[3 * at] = known > 0 ? count_of(own, n) : 0;
      counts[3 * at + 1] = known;
      counts[3 * at + 2] = static_cast<double>(matches(grams[at], grams_of(s, n)));
    });
    const double score = chrf(counts);
    if (score <= best) continue;
    best = score;
    std::copy(counts.begin(), counts.end(), row.begin());
  }
}

// Runs of [a-z0-9] of the text in lower case. Two characters beyond ASCII have one of these in
// theirs: I with a dot, and the Kelvin sign.
std::vector<std::string> rouge_words(std::string_view text) {
  std::vector<std::string> out;
  bool inside = false;
  for (const char32_t c : characters(text)) {
    const char32_t lower = c >= 'A' && c <= 'Z' ? c + 32 : c == 0x130 ? 'i' : c == 0x212a ? 'k' : c;
    const bool taken = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
    if (taken && !inside) out.emplace_back();
    if (taken) out.back() += static_cast<char>(lower);
    inside = taken && c != 0x130;  // a combining dot follows it
  }
  return out;
}

int64_t longest_common_subsequence(std::u32string_view a, std::u32string_view b) {
  std::vector<int64_t> row(b.size() + 1);
  for (const char32_t x : a) {
    int64_t diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t above = row[j + 1];
      row[j + 1] = x == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row.back();
}

// Row: 1, precision, recall, F1.
void count_rouge(const TextItem& item, std::span<double> row) {
  Numbers numbers;
  const std::u32string text = numbers.of(rouge_words(item.text));
  double best = -1;
  for (const std::string& reference : item.references) {
    const std::u32string target = numbers.of(rouge_words(reference));
    double precision = 0, recall = 0, f1 = 0;
    if (!text.empty() && !target.empty()) {
      const auto common = static_cast<double>(longest_common_subsequence(target, text));
      precision = common / static_cast<double>(text.size());
      recall = common / static_cast<double>(target.size());
      if (common > 0) f1 = 2 * precision * recall / (precision + recall);
    }
    if (f1 <= best) continue;
    best = f1;
    row[0] = 1, row[1] = precision, row[2] = recall, row[3] = f1;
  }
}

TextMetric bleu_metric(Words words) {
  return {.name = "bleu",
          .title = "BLEU",
          .signature =
              "case:mixed|eff:no|tok:" + words_names()[static_cast<size_t>(words)] + "|smooth:exp",
          .sums = 2 + 2 * kBleuOrder,
          .count = [words](const TextItem& item,
                           std::span<double> row) { count_bleu(item, words, row); },
          .score = [](std::span<const double> sums) { return bleu(sums, false).score; },
          .of_item = [](std::span<const double> row) { return bleu(row, true).score; }};
}

TextMetric chrf_metric(size_t word_order) {
  return {.name = word_order == 0 ? "chrf" : "chrf++",
          .title = word_order == 0 ? "chrF2" : "chrF2++",
          .signature = "case:mixed|eff:yes|nc:" + std::to_string(kCharacterOrder) +
                       "|nw:" + std::to_string(word_order) + "|space:no",
          .sums = static_cast<int64_t>(3 * (kCharacterOrder + word_order)),
          .count = [word_order](const TextItem& item,
                                std::span<double> row) { count_chrf(item, word_order, row); },
          .score = chrf,
          .of_item = chrf};
}

TextMetric rouge_metric() {
  const auto f1 = [](std::span<const double> sums) { return sums[3] / sums[0]; };
  return {.name = "rougeL",
          .title = "ROUGE-L",
          .signature = "case:lc|tok:rouge|stem:no|mean:f1",
          .sums = 4,
          .scale = 1,
          .count = count_rouge,
          .score = f1,
          .of_item = f1};
}

std::vector<double> sums_of(int64_t width, std::span<const double> rows,
                            std::span<const double> multiplicity = {}) {
  const auto columns = static_cast<size_t>(width);
  std::vector<double> sums(columns);
  for (size_t i = 0; i < rows.size() / columns; ++i) {
    const double times = multiplicity.empty() ? 1 : multiplicity[i];
    if (times == 0) continue;
    for (size_t k = 0; k < columns; ++k) sums[k] += times * rows[i * columns + k];
  }
  return sums;
}

}  // namespace

std::vector<std::string> words_names() { return {"13a", "char", "none", "intl"}; }

Words words_from(std::string_view name) {
  const auto names = words_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    throw InputError("--tokenize", "there is no tokenizer " + quote(name),
                     did_you_mean(name, names));
  return static_cast<Words>(found - names.begin());
}

std::vector<std::string> split_words(std::string_view line, Words words) {
  const auto owned = [](const std::vector<std::string_view>& pieces) {
    return std::vector<std::string>(pieces.begin(), pieces.end());
  };
  line = rstrip(line);
  if (words == Words::v13a) return owned(split(tokenize_13a(line)));
  if (words == Words::none) return owned(split(line));
  if (words == Words::international) return owned(split(tokenize_international(line)));
  std::vector<std::string> out;
  for (const std::string_view word : split(line))
    for (size_t i = 0; i < word.size(); ++i) {
      if ((static_cast<uint8_t>(word[i]) & 0xc0) != 0x80) out.emplace_back();
      out.back() += word[i];
    }
  return out;
}

std::vector<std::string> text_metric_names() { return {"bleu", "chrf", "chrf++", "rougeL"}; }

TextMetric text_metric(std::string_view name, Words words) {
  if (name == "bleu") return bleu_metric(words);
  if (name == "chrf") return chrf_metric(0);
  if (name == "chrf++") return chrf_metric(2);
  if (name == "rougeL") return rouge_metric();
  throw InputError("--metrics", "there is no score " + quote(name),
                   did_you_mean(name, text_metric_names()));
}

Bleu bleu(std::span<const double> sums, bool effective_order) {
  Bleu out;
  out.length = static_cast<int64_t>(sums[0]);
  out.reference_length = static_cast<int64_t>(sums[1]);
  if (sums[0] < sums[1]) out.brevity_penalty = sums[0] > 0 ? std::exp(1 - sums[1] / sums[0]) : 0;
  const auto matched = sums.subspan(2, kBleuOrder), all = sums.subspan(2 + kBleuOrder, kBleuOrder);
  if (std::all_of(matched.begin(), matched.end(), [](double n) { return n == 0; })) return out;
  double smooth = 1;
  size_t orders = kBleuOrder;
  for (size_t n = 0; n < kBleuOrder && all[n] > 0; ++n) {
    if (effective_order) orders = n + 1;
    if (matched[n] == 0) smooth *= 2;
    out.precisions[n] = matched[n] == 0 ? 100 / (smooth * all[n]) : 100 * matched[n] / all[n];
  }
  double logs = 0;
  for (size_t n = 0; n < orders; ++n)
    logs += out.precisions[n] > 0 ? std::log(out.precisions[n]) : -9999999999;  // sacrebleu's floor
  out.score = out.brevity_penalty * std::exp(logs / static_cast<double>(orders));
  return out;
}

std::vector<double> count_items(const TextMetric& metric, std::span<const TextItem> items,
                                const Context& context) {
  std::vector<double> rows(items.size() * static_cast<size_t>(metric.sums));
  context.pool->each(std::ssize(items), [&](int64_t i) {
    const TextItem& item = items[static_cast<size_t>(i)];
    check(!item.references.empty(), "an item has a reference");
    metric.count(item, std::span(rows).subspan(static_cast<size_t>(i * metric.sums),
                                               static_cast<size_t>(metric.sums)));
  });
  return rows;
}

TextScore text_score(const TextMetric& metric, std::span<const double> rows) {
  TextScore out;
  out.sums = sums_of(metric.sums, rows);
  out.value = metric.score(out.sums);
  const int64_t items = std::ssize(rows) / metric.sums;
  if (items > 1)
    out.ci95 = bootstrap(items, [&](std::span<const double> multiplicity) {
      return metric.score(sums_of(metric.sums, rows, multiplicity));
    });
  return out;
}

PairedDifference paired_difference(const TextMetric& metric, std::span<const double> a,
                                   std::span<const double> b) {
  check(a.size() == b.size(), "both systems have all items");
  const auto difference = [&](std::span<const double> multiplicity) {
    return metric.score(sums_of(metric.sums, a, multiplicity)) -
           metric.score(sums_of(metric.sums, b, multiplicity));
  };
  PairedDifference out;
  out.value = difference({});
  const auto draws = resample(std::ssize(a) / metric.sums, 1,
                              [&](std::span<const double> multiplicity, std::span<double> values) {
                                values[0] = difference(multiplicity);
                              })[0];
  out.ci95 = middle(draws);
  const auto far = std::count_if(draws.begin(), draws.end(), [&](double draw) {
    return std::abs(draw - out.value) >= std::abs(out.value);
  });
  out.p = static_cast<double>(far + 1) / static_cast<double>(std::ssize(draws) + 1);
  return out;
}

}  // namespace halftone::eval
