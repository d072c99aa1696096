// halftone inspect: what a model is made of, from its headers alone.
#include <map>

#include "halftone/cli/session.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model;
  bool tensors = false, ops = false;
};

int inspect_model(Session& session, const Options& options) {
  const Context& context = session.start();
  const auto model = pack::open_model(options.model, context);
  const spec::Checkpoint& checkpoint = model->checkpoint();
  const spec::ModelSpec& spec = checkpoint.spec;
  const int64_t parameters = spec::parameter_count(spec);

  Json result;
  result["model"] = options.model;
  result["path"] = checkpoint.path;
  result["family"] = spec.family;
  result["parameters"] = parameters;
  result["blocks"] = spec.blocks.size();
  result["width"] = spec.width;
  result["vocabulary"] = spec.vocabulary;
  result["context"] = spec.context;
  result["tied_head"] = spec.tied_head;
  result["weight_bytes"] = model->weight_bytes();
  result["bits_per_weight"] = model->bits_per_weight();

  std::map<std::string, std::pair<int64_t, int64_t>> formats;  // label -> linears, weights
  for (const auto& [key, format] : model->plan().ports) {
    if (key.port != format::Port::weight) continue;
    auto& [linears, weights] = formats[format.label()];
    ++linears;
    if (const spec::Op* op = spec::find_op(spec, key.op)) {
      const auto& linear = std::get<spec::Linear>(op->params);
      weights += linear.in * linear.out;
    }
  }
  std::map<std::string, std::pair<int64_t, uint64_t>> stored;  // as the files say -> tensors, bytes
  Json tensor_rows = Json::array();
  for (const auto& info : checkpoint.tensors->tensors()) {
    auto& [count, bytes] = stored[info.stored_as];
    ++count;
    bytes += info.stored_bytes;
    tensor_rows.push_back({{"name", info.name},
                           {"shape", info.shape},
                           {"stored_as", info.stored_as},
                           {"bytes", info.stored_bytes}});
  }
  Json format_rows = Json::array(), stored_rows = Json::array(), op_rows = Json::array();
  for (const auto& [label, row] : formats)
    format_rows.push_back({{"format", label}, {"linears", row.first}, {"weights", row.second}});
  for (const auto& [label, row] : stored)
    stored_rows.push_back({{"stored_as", label}, {"tensors", row.first}, {"bytes", row.second}});
  for (const auto& ref : spec::linears(spec))
    op_rows.push_back({{"op", ref.op->name},
                       {"role", spec::role_name(ref.linear().role)},
                       {"out", ref.linear().out},
                       {"in", ref.linear().in}});
  result["formats"] = format_rows;
  result["stored"] = stored_rows;
  if (options.tensors) result["tensors"] = tensor_rows;
  if (options.ops) result["linears"] = op_rows;

  session.print(result, [&] {
    Terminal& t = session.terminal;
    t.out(options.model + ": " + spec.family + ", " + count_text(static_cast<double>(parameters)) +
          " parameters, " + std::to_string(spec.blocks.size()) + " blocks of width " +
          std::to_string(spec.width) + ", vocabulary " +
          count_text(static_cast<double>(spec.vocabulary)) + ", context " +
          count_text(static_cast<double>(spec.context)) + (spec.tied_head ? ", tied head" : ""));
    t.out("  " + bytes_text(static_cast<double>(model->weight_bytes())) + " of weights, " +
          significant(model->bits_per_weight(), 4) + " bits per weight");
    for (const auto& [label, row] : formats)
      t.out("  " + label + ": " + std::to_string(row.first) + " linears, " +
            count_text(static_cast<double>(row.second)) + " weights");
    for (const auto& [label, row] : stored)
      t.out("  stored as " + label + ": " + std::to_string(row.first) + " tensors, " +
            bytes_text(static_cast<double>(row.second)));
    if (options.ops)
      for (const auto& row : op_rows)
        t.out("  " + row["role"].get<std::string>() + "  " + row["op"].get<std::string>() + "  [" +
              row["out"].dump() + ", " + row["in"].dump() + "]");
    if (options.tensors)
      for (const auto& row : tensor_rows)
        t.out("  " + row["name"].get<std::string>() + "  " + row["stored_as"].get<std::string>() +
              "  " + row["shape"].dump());
  });
  return 0;
}

}  // namespace

Command inspect() {
  return {.summary = "show what a model is made of: family, shapes, formats, true bits per weight",
          .examples = "  halftone inspect smollm2\n  halftone inspect out/gptq4 --tensors --json",
          .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
            auto options = std::make_shared<Options>();
            app.add_option("MODEL", options->model,
                           "a folder, a .gguf, a hub name in the local cache, smollm2")
                ->required();
            app.add_flag("--tensors", options->tensors, "list every tensor");
            app.add_flag("--ops", options->ops, "list every linear with its role");
            session.add_json(app);
            return [options, &session] { return inspect_model(session, *options); };
          }};
}

}  // namespace halftone::cli
