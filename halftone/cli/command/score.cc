// halftone score: texts against reference texts, or labels against right ones. No model is needed:
// the files may come from any program.
#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/cli/classification_text.h"
#include "halftone/cli/output_file.h"
#include "halftone/cli/session.h"
#include "halftone/eval/bleu.h"
#include "halftone/eval/bleu_words.h"
#include "halftone/eval/classification.h"
#include "halftone/eval/python_text.h"
#include "halftone/eval/text_scores.h"
#include "halftone/files/column.h"

namespace halftone::cli {
namespace {

using files::Cell;

struct Options {
  std::string predictions, against, labels, field, gold_field, log_samples, words = "13a";
  std::vector<std::string> references, metrics = {"bleu", "chrf", "rougeL"};
  std::vector<const CLI::Option*> of_texts;  // options that mean nothing to labels
};

Json json_of(const std::optional<eval::Interval>& ci) { return ci ? Json(*ci) : Json(); }

// All files that a run reads: the same number of items in each, in the same order.
class Inputs {
 public:
  Inputs(const Options& options, const Context& context) : options_(options), context_(context) {
    const bool texts = options.labels.empty();
    const std::vector<std::string> given = {"prediction", texts ? "text" : "label"};
    predictions = read(options.predictions, options.field, given);
    if (!options.against.empty()) against = read(options.against, options.field, given);
    for (const std::string& path : options.references)
      gold.push_back(read(path, options.gold_field, {"reference", "text"}));
    if (!texts) gold.push_back(read(options.labels, options.gold_field, {"label"}));
  }
  std::vector<Cell> predictions, against;
  std::vector<std::vector<Cell>> gold;  // by file
  int64_t blank_lines = 0;              // of all files, passed over

 private:
  std::vector<Cell> read(const std::string& path, const std::string& field,
                         std::vector<std::string> fields) {
    if (!field.empty()) fields = {field};
    auto [cells, blank] = files::read_column(*context_.env, path, fields, context_.limits);
    blank_lines += blank;
    if (!predictions.empty() && cells.size() != predictions.size())
      throw FileError(Code::mismatch, path,
                      "has " + std::to_string(cells.size()) + " items, and " +
                          options_.predictions + " has " + std::to_string(predictions.size()),
                      {}, "give files with the same items in the same order");
    return std::move(cells);
  }
  const Options& options_;
  const Context& context_;
};

// --- texts

std::vector<eval::TextItem> items_of(const std::vector<Cell>& texts, const Inputs& inputs) {
  std::vector<eval::TextItem> out;
  for (size_t i = 0; i < texts.size(); ++i) {
    eval::TextItem& item = out.emplace_back(eval::TextItem{texts[i].text, {}});
    for (const auto& file : inputs.gold) item.references.push_back(file[i].text);
  }
  return out;
}

int64_t count_empty(const std::vector<Cell>& cells) {
  return std::count_if(cells.begin(), cells.end(),
                       [](const Cell& c) { return eval::strip(c.text).empty(); });
}

struct Row {
  eval::TextMetric metric;
  std::string signature;
  std::vector<double> rows, other_rows;  // of the items
  eval::TextScore score, other;
  eval::PairedDifference difference;
  int digits() const { return metric.scale == 1 ? 4 : 2; }
};

Json json_of(const Row& row, bool paired) {
  Json out = {{"title", row.metric.title},
              {"value", row.score.value},
              {"ci95", json_of(row.score.ci95)},
              {"signature", row.signature}};
  if (row.metric.name == "bleu") {
    const eval::Bleu bleu = eval::bleu(row.score.sums, false);
    out["precisions"] = bleu.precisions;
    out["brevity_penalty"] = bleu.brevity_penalty;
    out["words"] = bleu.length;
    out["reference_words"] = bleu.reference_length;
  }
  if (paired)
    out["against"] = {{"value", row.other.value},
                      {"ci95", json_of(row.other.ci95)},
                      {"difference", row.difference.value},
                      {"difference_ci95", row.difference.ci95},
                      {"p", row.difference.p}};
  return out;
}

// As sacrebleu prints it, with the interval behind the score.
std::string line_of(const Row& row) {
  std::string out = row.metric.title + "|" + row.signature + " = " +
                    fixed(row.score.value, row.digits()) + interval(row.score.ci95, row.digits());
  if (row.metric.name != "bleu") return out;
  const eval::Bleu bleu = eval::bleu(row.score.sums, false);
  const auto words = static_cast<double>(bleu.length),
             reference = static_cast<double>(bleu.reference_length);
  std::string precisions;
  for (const double p : bleu.precisions)
    precisions += (precisions.empty() ? " " : "/") + fixed(p, 1);
  return out + precisions + " (BP = " + fixed(bleu.brevity_penalty, 3) +
         " ratio = " + fixed(reference > 0 ? words / reference : 0, 3) +
         " hyp_len = " + std::to_string(bleu.length) +
         " ref_len = " + std::to_string(bleu.reference_length) + ")";
}

// A line of --log-samples.
Json sample_of(const std::vector<Row>& rows, size_t item, const std::string& where, bool paired) {
  Json line = {{"item", item}, {"where", where}};
  const auto add = [&](const std::string& name, const Row& row, std::span<const double> all) {
    const auto width = static_cast<size_t>(row.metric.sums);
    line[name] = row.metric.of_item(all.subspan(item * width, width));
  };
  for (const Row& row : rows) add(row.metric.name, row, row.rows);
  if (paired)
    for (const Row& row : rows) add(row.metric.name + "_against", row, row.other_rows);
  return line;
}

std::string blank_text(const Json& result) {
  return result.contains("blank_lines")
             ? ", blank lines passed over: " + result["blank_lines"].dump()
             : "";
}

void print_texts(Terminal& t, const std::vector<Row>& rows, const Json& result) {
  for (const Row& row : rows) t.out(line_of(row));
  std::string said = count_text(result["items"].get<double>()) + " items";
  if (result["empty"] > 0) said += ", " + result["empty"].dump() + " without text";
  if (result["empty_references"] > 0)
    said += ", " + result["empty_references"].dump() + " references without text";
  t.out(said + blank_text(result) + "; in brackets: 95 %, bootstrap over items");
  if (!result.contains("against")) return;
  t.out("");
  TextTable table{{"against " + result["against"].get<std::string>(), "here", "there", "difference",
                   "95 %", "p"},
                  {}};
  for (const Row& row : rows)
    table.rows.push_back({row.metric.title, fixed(row.score.value, row.digits()),
                          fixed(row.other.value, row.digits()),
                          fixed(row.difference.value, row.digits()),
                          fixed(row.difference.ci95[0], row.digits()) + ".." +
                              fixed(row.difference.ci95[1], row.digits()),
                          significant(row.difference.p, 2)});
  t.out(table.text());
}

int score_texts(Session& session, const Options& options, const Inputs& inputs) {
  const Context& context = session.context;
  const eval::Words words = eval::words_from(options.words);
  const bool paired = !options.against.empty();
  const auto items = items_of(inputs.predictions, inputs);
  const auto others = paired ? items_of(inputs.against, inputs) : std::vector<eval::TextItem>{};
  std::optional<OutputFile> log;
  if (!options.log_samples.empty()) {
    std::vector<std::string> read = options.references;
    read.insert(read.end(), {options.predictions, options.against});
    log.emplace(*session.env, options.log_samples, "--log-samples", read);
  }
  std::vector<Row> rows;
  for (const std::string& name : options.metrics)
    rows.push_back({.metric = eval::text_metric(name, words)});
  for (Row& row : rows) {
    context.throw_if_stopped();
    row.signature = "nrefs:" + std::to_string(inputs.gold.size()) + "|" + row.metric.signature;
    row.rows = eval::count_items(row.metric, items, context);
    row.score = eval::text_score(row.metric, row.rows);
    if (!paired) continue;
    row.other_rows = eval::count_items(row.metric, others, context);
    row.other = eval::text_score(row.metric, row.other_rows);
    row.difference = eval::paired_difference(row.metric, row.rows, row.other_rows);
  }

  const int64_t empty = count_empty(inputs.predictions);
  int64_t empty_references = 0;
  for (const auto& file : inputs.gold) empty_references += count_empty(file);
  Json result = {{"predictions", options.predictions},
                 {"references", options.references},
                 {"items", items.size()},
                 {"empty", empty},
                 {"empty_references", empty_references},
                 {"scores", Json::object()}};
  if (inputs.blank_lines > 0) result["blank_lines"] = inputs.blank_lines;
  if (paired) result["against"] = options.against;
  for (const Row& row : rows) result["scores"][row.metric.name] = json_of(row, paired);

  if (log)
    for (size_t i = 0; i < items.size(); ++i)
      log->write(sample_of(rows, i, inputs.predictions[i].where, paired).dump() + "\n");
  session.print(result, [&] { print_texts(session.terminal, rows, result); });
  if (log) log->finish();  // last: a full disk takes the samples, not the result
  return 0;
}

// --- labels

std::vector<std::string> labels_of(const std::vector<Cell>& cells) {
  std::vector<std::string> out;
  for (const Cell& cell : cells) {
    out.emplace_back(eval::strip(cell.text));
    if (out.back().empty())
      throw FileError(Code::value, cell.where, "has no label", {},
                      "write the label of the item, or remove the line");
  }
  return out;
}

Json json_of(const eval::Rate& rate) {
  return {{"value", rate.value}, {"ci95", json_of(rate.ci95)}};
}
Json json_of(const eval::LabelScores& scores) {
  return {{"precision", json_of(scores.precision)},
          {"recall", json_of(scores.recall)},
          {"f1", json_of(scores.f1)}};
}

Json json_of(const eval::Classification& c) {
  const size_t n = c.labels.size();
  Json by_label = Json::array(), confusion = Json::array();
  for (size_t k = 0; k < n; ++k) {
    Json row = {{"label", c.labels[k]}, {"support", c.support[k]}, {"predicted", c.predicted[k]}};
    row.update(json_of(c.by_label[k]));
    by_label.push_back(row);
    confusion.push_back(
        std::vector<int64_t>(c.confusion.begin() + static_cast<std::ptrdiff_t>(k * n),
                             c.confusion.begin() + static_cast<std::ptrdiff_t>((k + 1) * n)));
  }
  return {{"items", c.items},          {"accuracy", json_of(c.accuracy)},
          {"macro", json_of(c.macro)}, {"weighted", json_of(c.weighted)},
          {"by_label", by_label},      {"labels", c.labels},
          {"confusion", confusion}};
}

Json json_of(const eval::McNemar& m) {
  return {{"both_right", m.both},
          {"only_first_right", m.only_first},
          {"only_second_right", m.only_second},
          {"neither_right", m.neither},
          {"exact_p", m.exact_p},
          {"statistic", m.statistic},
          {"p", m.p}};
}

int score_labels(Session& session, const Options& options, const Inputs& inputs) {
  const auto right = labels_of(inputs.gold[0]), first = labels_of(inputs.predictions);
  const eval::Classification c = eval::classify(right, first);
  Json result = {{"predictions", options.predictions}, {"right", options.labels}};
  result.update(json_of(c));
  if (inputs.blank_lines > 0) result["blank_lines"] = inputs.blank_lines;
  std::optional<eval::Classification> other;
  eval::McNemar test;
  if (!options.against.empty()) {
    const auto second = labels_of(inputs.against);
    other = eval::classify(right, second);
    test = eval::mcnemar(right, first, second);
    result["against"] = {{"predictions", options.against}};
    result["against"].update(json_of(*other));
    result["mcnemar"] = json_of(test);
  }
  session.print(result, [&] {
    Terminal& t = session.terminal;
    print_classification(t, c);
    if (inputs.blank_lines > 0) t.out(blank_text(result).substr(2));
    if (!other) return;
    t.out("against " + options.against + ": accuracy " + fixed(other->accuracy.value, 4) +
          interval(other->accuracy.ci95, 4) + "  macro F1 " + fixed(other->macro.f1.value, 4) +
          interval(other->macro.f1.ci95, 4));
    t.out("McNemar: right in both " + std::to_string(test.both) + ", here only " +
          std::to_string(test.only_first) + ", there only " + std::to_string(test.only_second) +
          ", in neither " + std::to_string(test.neither) + "; p " + significant(test.exact_p, 2) +
          " (exact), " + significant(test.p, 2) + " (chi-squared with continuity correction " +
          significant(test.statistic) + ")");
  });
  return 0;
}

int score_files(Session& session, const Options& options) {
  const bool texts = !options.references.empty();
  if (texts != options.labels.empty())
    throw InputError(
        "halftone score",
        texts ? "--reference is for texts, --labels for labels" : "nothing to score against",
        texts ? "give one of them" : "add --reference FILE for texts, or --labels FILE for labels");
  if (!texts)
    for (const CLI::Option* option : options.of_texts)
      if (option->count() > 0)
        throw InputError(option->get_name(), "is for texts", "leave it out with --labels");
  const Context& context = session.start();
  for (const std::string& name : options.metrics) eval::text_metric(name);
  eval::words_from(options.words);
  const Inputs inputs(options, context);
  return texts ? score_texts(session, options, inputs) : score_labels(session, options, inputs);
}

}  // namespace

Command score() {
  return {
      .summary =
          "score texts against references (BLEU, chrF, ROUGE-L), or labels against right ones",
      .examples =
          "  halftone score answers.txt --reference right.txt\n"
          "  halftone score a.txt --reference r1.txt --reference r2.txt --metrics bleu,chrf++\n"
          "  halftone score gptq4.jsonl --reference right.txt --against full.jsonl     (paired)\n"
          "  halftone score predictions.lst --labels dev.tsv --json\n"
          "  halftone score gptq4.jsonl --labels dev.jsonl --gold-field answer --against "
          "full.jsonl\n"
          "Files: a line an item, or .jsonl, .tsv and .csv with a field for it.",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("FILE", options->predictions, "what a model gave, one item after the other")
            ->required();
        app.add_option("--reference", options->references,
                       "texts that are right; given again: more references of each item")
            ->allow_extra_args(false);
        app.add_option("--labels", options->labels, "labels that are right");
        app.add_option("--against", options->against,
                       "what another model gave: paired bootstrap of texts, McNemar of labels");
        options->of_texts.push_back(app.add_option("--metrics", options->metrics,
                                                   "of " + listed(eval::text_metric_names()) +
                                                       " (default " + listed(options->metrics) +
                                                       ")")
                                        ->delimiter(',')
                                        ->allow_extra_args(false));
        options->of_texts.push_back(
            app.add_option("--tokenize", options->words,
                           "how BLEU cuts words: " + listed(eval::words_names()) +
                               ", as sacrebleu names them (default 13a)"));
        app.add_option(
            "--field", options->field,
            "field or column of FILE and --against (default: prediction, else text or label)");
        app.add_option(
            "--gold-field", options->gold_field,
            "of --reference (default: reference, else text) or --labels (default: label)");
        options->of_texts.push_back(
            app.add_option("--log-samples", options->log_samples,
                           "write the scores of each text to FILE, a JSON line an item"));
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return score_files(session, *options); };
      }};
}

}  // namespace halftone::cli
