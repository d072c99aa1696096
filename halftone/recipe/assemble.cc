#include "halftone/recipe/assemble.h"

#include <algorithm>
#include <map>

#include "halftone/base/env.h"
#include "halftone/files/safetensors.h"
#include "halftone/pack/bits.h"
#include "halftone/pack/read_linear.h"
#include "halftone/pack/writer.h"
#include "halftone/recipe/preflight.h"

namespace halftone::recipe {
namespace {

using format::Format;
using format::Granularity;
using pack::Layout;

// What a tokenizer or a generation loop reads. Weights, config.json and anything unknown are not
// copied.
constexpr std::string_view kSideFiles[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
};

std::string safetensors_part(const WorkFolder& work, const Json& record) {
  return join_path(work.path(), record["file"].get<std::string>());
}

// config.json of the output: the source's, told of its new dtype and of how it is quantized.
std::string config_text(const QuantizeRequest& request, const Json& quantization) {
  Json config = request.checkpoint.config;
  const std::string dtype = request.recipe.dense_dtype == DType::bf16  ? "bfloat16"
                            : request.recipe.dense_dtype == DType::f16 ? "float16"
                                                                       : "float32";
  if (config.contains("dtype")) config["dtype"] = dtype;
  if (!config.contains("dtype") || config.contains("torch_dtype")) config["torch_dtype"] = dtype;
  config["quantization_config"] = quantization;
  return config.dump(2) + "\n";
}

// Reads parts one at a time: consecutive tensors mostly come from the same one.
class PartFiles {
 public:
  PartFiles(const WorkFolder& work, const Context& context) : work_(work), context_(context) {
    for (const Json& record : work.finished())
      for (const Json& layer : record["layers"])
        unit_of_[layer["op"].get<std::string>()] = record["unit"].get<int64_t>();
  }
  const files::TensorSource& part_of(const std::string& op) {
    const int64_t unit = unit_of_.at(op);
    if (unit != open_) {
      part_ = files::open_safetensors(
          safetensors_part(work_, work_.finished()[static_cast<size_t>(unit)]), context_);
      open_ = unit;
    }
    return *part_;
  }

 private:
  const WorkFolder& work_;
  const Context& context_;
  std::map<std::string, int64_t> unit_of_;
  std::shared_ptr<const files::TensorSource> part_;
  int64_t open_ = -1;
};

}  // namespace

ChosenLayout choose_layout(const LayoutChoice& wanted, const Assignment& assignment,
                           const spec::ModelSpec& spec) {
  const format::Plan& plan = assignment.plan;
  const bool scattered = std::any_of(assignment.choices.begin(), assignment.choices.end(),
                                     [](const Choice& choice) { return choice.scattered; });
  ChosenLayout out;
  if (wanted.layout == Layout::gptq) {
    out.layout = Layout::gptq;
    const bool symmetric = std::all_of(plan.ports.begin(), plan.ports.end(),
                                       [](const auto& port) { return port.second.symmetric; });
    out.gptq_version = wanted.gptq_version != 0 ? wanted.gptq_version : symmetric ? 1 : 2;
    out.name = "gptq v" + std::to_string(out.gptq_version);
  } else {
    out.why = pack::compressed_tensors_clash(plan, spec);
    if (out.why.empty() && scattered)
      out.why =
          "compressed-tensors holds no columns out of the order of their groups (act_order; "
          "static_groups: true keeps it)";
    out.layout = out.why.empty() ? Layout::compressed_tensors : Layout::halftone;
    out.name = out.why.empty() ? "compressed-tensors" : "halftone";
  }
  pack::check_layout(plan, spec, out.layout, out.gptq_version);
  return out;
}

std::vector<spec::TensorRef> dense_tensors(const spec::ModelSpec& spec,
                                           const Assignment& assignment) {
  std::set<std::string> planned;
  for (const Choice& choice : assignment.choices)
    planned.insert(std::get<spec::Linear>(spec::find_op(spec, choice.op)->params).weight.name);
  std::vector<spec::TensorRef> out;
  for (auto& ref : spec::tensors(spec))
    if (!planned.contains(ref.name)) out.push_back(std::move(ref));
  return out;
}

uint64_t packed_bytes(const Format& f, int64_t n, int64_t k, Layout layout, bool scattered_groups) {
  const int64_t grids = f.granularity == Granularity::tensor ? 1 : n * f.groups(k);
  int64_t bytes = grids * dtype_bytes(f.scale_dtype);
  if (layout == Layout::gptq)
    return static_cast<uint64_t>(bytes + (k * n + f.groups(k) * n) * f.bits / 8 + 4 * k);
  bytes += n * pack::packed_words(k, f.bits) * 4 + 16;
  if (scattered_groups) bytes += 4 * k;
  if (!f.symmetric)
    bytes +=
        f.granularity == Granularity::tensor ? 1 : pack::packed_words(n, f.bits) * f.groups(k) * 4;
  return static_cast<uint64_t>(bytes);
}

double stored_bits(const Format& f, int64_t n, int64_t k, Layout layout, bool scattered_groups) {
  if (layout != Layout::gptq) return format::bits_per_weight(f, n, k, scattered_groups);
  return static_cast<double>(packed_bytes(f, n, k, layout)) * 8 / static_cast<double>(n * k);
}

std::vector<std::pair<std::string, std::string>> side_files(const spec::Checkpoint& checkpoint,
                                                            Env& env) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto info = env.stat(checkpoint.path);
  if (!info || !info->is_directory) return out;
  for (const std::string& name : env.list(checkpoint.path)) {
    const bool wanted =
        std::find(std::begin(kSideFiles), std::end(kSideFiles), name) != std::end(kSideFiles) ||
        name.ends_with(".tiktoken");
    const std::string path = join_path(checkpoint.path, name);
    if (!wanted) continue;
    if (const auto file = env.stat(path); file && file->is_regular) out.emplace_back(name, path);
  }
  return out;
}

PartReader::PartReader(const format::Plan& plan, const spec::ModelSpec& spec)
    : plan_(plan),
      spec_(spec),
      config_(pack::quantization_config(plan, spec, Layout::halftone), "part") {}

pack::DecoratedLinear PartReader::read(const files::TensorSource& part,
                                       const std::string& op) const {
  // The linear without its bias: that stays a tensor of its own.
  spec::Linear linear = std::get<spec::Linear>(spec::find_op(spec_, op)->params);
  linear.bias.reset();
  const auto scheme = config_.scheme(op, linear);
  check(scheme.has_value(), "a part holds a linear that is not planned");
  pack::DecoratedLinear out = pack::read_compressed({part, config_, op, linear, *scheme});
  // What the file's tensors do not tell (the grid's rule, clip search) comes from the plan.
  auto& codes = std::get<format::Codes>(out.weight);
  const Format* format = plan_.find(op, format::Port::weight);
  check(format && format->scale_dtype == codes.format.scale_dtype,
        "a part's scales have another type than planned");
  codes.format = *format;
  return out;
}

Recipe without_folders(Recipe recipe) {
  if (recipe.calibration) recipe.calibration->data = file_name(recipe.calibration->data);
  return recipe;
}

Json receipt(const QuantizeRequest& request, const std::string& fingerprint,
             const std::string& weights_hash, const std::optional<CalibrationReport>& calibration,
             const std::vector<LayerReport>& layers, const ChosenLayout& layout) {
  Json out = {{"schema", pack::kReceiptSchema},
              {"program", {{"name", "halftone"}, {"version", HALFTONE_VERSION}}},
              {"fingerprint", fingerprint},
              {"source", {{"family", request.checkpoint.spec.family}, {"weights", weights_hash}}},
              {"layout", layout.name},
              {"recipe", to_json(without_folders(request.recipe))}};
  if (calibration) out["calibration"] = to_json(*calibration);
  out["layers"] = Json::array();
  for (const LayerReport& layer : layers) out["layers"].push_back(to_json(layer));
  out["quantized_bits_per_weight"] = bits_per_weight(layers, request.checkpoint.spec);
  return out;
}

pack::FolderSummary assemble(const QuantizeRequest& request, const Assignment& assignment,
                             const ChosenLayout& layout, const WorkFolder& work,
                             const Json& receipt, const std::set<std::string>& scattered,
                             std::vector<std::pair<std::string, std::string>> tokenizer_files,
                             const Context& context) {
  const spec::ModelSpec& spec = request.checkpoint.spec;
  const PartReader reader(assignment.plan, spec);
  PartFiles parts(work, context);
  std::map<std::string, std::string> op_of_weight;  // weight tensor -> planned op
  for (const Choice& choice : assignment.choices)
    op_of_weight[std::get<spec::Linear>(spec::find_op(spec, choice.op)->params).weight.name] =
        choice.op;

  // GPTQ tensors are made from the part's; a linear's tensors are asked for one after the other, so
  // one is kept.
  std::string converted_op;
  std::vector<std::pair<std::string, HostTensor>> converted;
  const auto gptq_tensors = [&](const std::string& op) -> const auto& {
    if (converted_op != op) {
      converted =
          pack::tensors_of(reader.read(parts.part_of(op), op), Layout::gptq, layout.gptq_version);
      converted_op = op;
    }
    return converted;
  };

  pack::FolderContents contents;
  for (const spec::TensorRef& ref : spec::tensors(spec)) {
    const auto planned = op_of_weight.find(ref.name);
    if (planned == op_of_weight.end()) {
      contents.tensors.push_back(
          {ref.name, request.recipe.dense_dtype, ref.shape, [&request, ref](const auto& sink) {
             read_in_pieces(
                 *request.checkpoint.tensors, ref, [&](int64_t, const HostTensor& piece) {
                   const DType dtype = request.recipe.dense_dtype;
                   if (piece.dtype() == dtype) return sink(piece.bytes());
                   const HostTensor wide = to_f32(piece);
                   sink(dtype == DType::f32 ? wide.bytes() : from_f32(wide, dtype).bytes());
                 });
           }});
      continue;
    }
    const std::string op = planned->second;
    if (layout.layout == Layout::gptq) {
      for (const auto& [name, tensor] : gptq_tensors(op))
        contents.tensors.push_back({name, tensor.dtype(), tensor.shape(),
                                    [&gptq_tensors, op, wanted = name](const auto& sink) {
                                      for (const auto& [made, value] : gptq_tensors(op))
                                        if (made == wanted) sink(value.bytes());
                                    }});
      continue;
    }
    for (const auto& info : parts.part_of(op).tensors())
      if (info.name.starts_with(op + ".weight_"))
        contents.tensors.push_back(
            {info.name, info.dtype, info.shape, [&parts, op, name = info.name](const auto& sink) {
               sink(parts.part_of(op).read(name).bytes());
             }});
  }

  const Json quantization = pack::quantization_config(assignment.plan, spec, layout.layout,
                                                      layout.gptq_version, scattered);
  contents.texts = std::move(tokenizer_files);
  const std::string config = config_text(request, quantization);
  contents.texts.emplace_back("config.json", config);
  if (layout.layout == Layout::gptq)
    contents.texts.emplace_back("quantize_config.json", quantization.dump(2) + "\n");
  contents.receipt = [&](const pack::TensorHashes& hashes) {
    return std::pair<std::string, std::string>("halftone.json",
                                               pack::receipt_text(receipt, hashes, config));
  };
  contents.copies = side_files(request.checkpoint, *context.env);
  return pack::write_folder(work.staging(), contents, context);
}

}  // namespace halftone::recipe
